/*
 * Text: numbers as people read them, and bars.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "clients/ctl/ctl.h"

const char *ctl_text_count(char out[CTL_TEXT_BYTES], double n) {
    char digits[CTL_TEXT_BYTES];
    size_t length = (size_t)snprintf(digits, sizeof digits, "%.0f", n), used = 0;

    for (size_t i = 0; i < length && used + 2 < CTL_TEXT_BYTES; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-') {
            out[used++] = ',';
        }
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

const char *ctl_text_bytes(char out[CTL_TEXT_BYTES], double n) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t i = 0;

    while (n >= 1024 && i + 1 < sizeof units / sizeof units[0]) {
        n /= 1024;
        i++;
    }
    snprintf(out, CTL_TEXT_BYTES, i == 0 ? "%.0f %s" : "%.1f %s", n, units[i]);
    return out;
}

const char *ctl_text_seconds(char out[CTL_TEXT_BYTES], double seconds) {
    if (seconds < 1) {
        snprintf(out, CTL_TEXT_BYTES, "%.0f ms", seconds * 1e3);
    } else if (seconds < 60) {
        snprintf(out, CTL_TEXT_BYTES, "%.1f s", seconds);
    } else if (seconds < 3600) {
        snprintf(out, CTL_TEXT_BYTES, "%.0f min %.0f s", floor(seconds / 60), fmod(seconds, 60));
    } else {
        snprintf(out, CTL_TEXT_BYTES, "%.0f h %.0f min", floor(seconds / 3600), fmod(seconds / 60, 60));
    }
    return out;
}

const char *ctl_text_sigma(char out[CTL_TEXT_BYTES], const cJSON *value) {
    if (cJSON_IsNumber(value)) {
        snprintf(out, CTL_TEXT_BYTES, "%.4g", value->valuedouble);
    } else {
        snprintf(out, CTL_TEXT_BYTES, "%s", cJSON_IsString(value) ? value->valuestring : "-");
    }
    return out;
}

const char *ctl_text_given_up(char out[CTL_TEXT_BYTES], const char *code) {
    if (strcmp(code, "EDOM") == 0) {
        snprintf(out, CTL_TEXT_BYTES, "the model answers no probability");
    } else if (strcmp(code, "ERANGE") == 0) {
        snprintf(out, CTL_TEXT_BYTES, "the model has no such label");
    } else {
        snprintf(out, CTL_TEXT_BYTES, "unreadable: %s", code);
    }
    return out;
}

const char *ctl_text_bar(double share, unsigned width) {
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    static char bar[3 * 256 + 4];
    unsigned total = (unsigned)lround(8.0 * (share < 0 ? 0 : share > 1 ? 1 : share) * (width > 256 ? 256 : width));

    bar[0] = '\0';
    if (total == 0 && share > 0) {
        total = 1; /* something is not nothing */
    }
    for (unsigned i = 0; i < total / 8; i++) {
        memcpy(bar + 3 * i, "█", 4);
    }
    strcat(bar, eighths[total % 8]);
    return bar;
}

double ctl_get_number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

const char *ctl_get_string(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return cJSON_IsString(item) ? item->valuestring : "";
}

unsigned ctl_columns(void) {
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40 ? size.ws_col : 80;
}
