#pragma once
/* Notify: the service manager's datagrams (sd_notify(3)), by hand. */
#include <stdint.h>

/* Send "READY=1", "STOPPING=1", "WATCHDOG=1", ... to NOTIFY_SOCKET; without it nothing happens. Thread: loop.
 */
void ambd_notify(const char *text);

/* A reload begins (RELOADING=1 with its time); READY=1 ends it. Thread: loop. */
void ambd_notify_reloading(void);

/* Interval that the service manager asks for in WATCHDOG_USEC (and WATCHDOG_PID is ours or unset); 0: none.
 */
uint64_t ambd_notify_watchdog_ns(void);
