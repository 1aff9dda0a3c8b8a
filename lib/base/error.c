/*
 * Error: the code travels as a return value, the message in a struct that the caller owns.
 *
 * Not here: logging (the daemon decides), wrapping (a message is written once, where the failure happens).
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    const char *name;
} error_names[] = {
    {AMB_ERR_FORMAT, "format"},       {AMB_ERR_VERSION, "version"},
    {AMB_ERR_CHECKSUM, "checksum"},   {AMB_ERR_LIMIT, "limit"},
    {AMB_ERR_CHANGED, "changed"},     {AMB_ERR_UNSUPPORTED, "unsupported"},
    {AMB_ERR_CONFIG, "config"},       {AMB_ERR_GAP, "gap"},
    {AMB_ERR_STATE, "state"},         {AMB_ERR_DUPLICATE, "duplicate"},
    {AMB_ERR_EXHAUSTED, "exhausted"}, {AMB_ERR_PROTOCOL, "protocol"},
    {AMB_ERR_DENIED, "denied"},       {AMB_ERR_QUOTA, "quota"},
    {AMB_ERR_NOT_FOUND, "not-found"}, {AMB_ERR_BUSY, "busy"},
};

int amb_fail(struct amb_error *err, int code, const char *fmt, ...) {
    va_list args;

    if (err == NULL) {
        return code;
    }
    err->code = code;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    return code;
}

const char *amb_error_name(int code) {
    const char *name;

    for (size_t i = 0; i < sizeof error_names / sizeof error_names[0]; i++) {
        if (error_names[i].code == code) {
            return error_names[i].name;
        }
    }
    name = strerrorname_np(-code);
    return name != NULL ? name : "unknown";
}
