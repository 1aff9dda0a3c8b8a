#pragma once
/* Options: what decides the draws of a stream, key by key, in JSON. */
#include "proto/json.h"
#include "sampler/canon.h"
#include "sampler/state.h"

/* As amb_stream_options_decode, from a parsed object. complete: every key must be there (a state's own options). */
int amb_options_load(struct amb_stream_options *out, const cJSON *object, bool complete, struct amb_error *err);

void amb_options_push(struct amb_canon *canon, const struct amb_stream_options *options);
