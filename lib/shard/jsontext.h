#pragma once
/* Jsontext: a pull reader of JSON that builds no tree, for labels of millions of samples. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define AMB_JSONTEXT_DEPTH_MAX 16u /* DESIGN section 9 */

/* Position in a text. After any call that returned false, `p` is near what could not be read. */
struct amb_jsontext {
    const char *p, *end, *start;
    bool no_memory; /* why a call returned false: the text may be right */
};

void amb_jsontext_init(struct amb_jsontext *in, const uint8_t *text, size_t bytes);

/* Next character that is no space, not consumed; 0 at the end. */
char amb_jsontext_peek(struct amb_jsontext *in);
/* Consume this character, spaces before it too; false if another comes. */
bool amb_jsontext_take(struct amb_jsontext *in, char c);
/* Consume one of "null", "true", "false". */
bool amb_jsontext_word(struct amb_jsontext *in, const char *word);
/* A string, unescaped into out (n_bytes set). */
bool amb_jsontext_string(struct amb_buf *out, struct amb_jsontext *in);
/* A finite number. */
bool amb_jsontext_number(double *out, struct amb_jsontext *in);
/* Any value. */
bool amb_jsontext_skip(struct amb_jsontext *in);
/* Find the value of a field of the object that begins here. False: if it is absent, then the '}' that ends the object
 * comes next; anything else where the text is no object. */
bool amb_jsontext_field(struct amb_jsontext *in, struct amb_buf *scratch, const char *field);
/* Line of `p`, from 1. */
size_t amb_jsontext_line(const struct amb_jsontext *in);
