#pragma once
/* Match: which sample of a catalog a line means by its names. */
#include <stddef.h>
#include <stdint.h>

#include "annotate/record.h"
#include "shard/catalog.h"

/* How a name was understood, for people. */
enum amb_match_rule {
    AMB_MATCH_SOURCE_KEY, /* "source/key"                                             */
    AMB_MATCH_KEY,        /* the key                                                  */
    AMB_MATCH_PATH,       /* path inside the shard                                    */
    AMB_MATCH_BASE,       /* base name, with or without extension                     */
    AMB_MATCH_TAIL,       /* what is left when leading folders are taken off          */
    AMB_MATCH_INDEX,      /* sample number                                            */
    AMB_MATCH_N,
};
const char *amb_match_rule_name(enum amb_match_rule rule); /* "key", "base name", ... Static. */

enum amb_match_outcome {
    AMB_MATCH_E_NONE = 1,      /* no sample is called that                            */
    AMB_MATCH_E_AMBIGUOUS = 2, /* several are; i_sample is the first of them          */
};

struct amb_match {
    enum amb_match_rule rule;
    uint32_t i_sample;
    const char *name; /* as the file has it; borrowed from the record; NULL: by index */
    size_t name_bytes;
};

/**
 * Look up the names of a record in the order of its fields, then its index; the first that means any sample decides.
 *
 * A name is looked up as it stands (amb_catalog_find), then without its extension, then both without its first
 * folder, and so on to its base name.
 * Returns: 0 or an outcome; *out is filled in each case (name: the one that decided, or the first).
 * Thread:  any.
 */
int amb_match_find(struct amb_match *out, struct amb_catalog *cat, const struct amb_record *record);
