/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_UTF8_H
#define CP_UTF8_H

/* UTF-8 as RFC 3629 has it: no overlong form, no surrogate, at most U+10FFFF.
 * ASCII goes eight bytes at a time. */

#include "clusterpush/base.h"

#include <stdbool.h>

/* What a piece left open: feed the next piece with it. Starts as 0, and is 0
 * again whenever the bytes so far end on a character's border. */
typedef uint32_t cp__utf8_state;
#define CP__UTF8_BAD ((cp__utf8_state)-1)

/* The state after `bytes`; CP__UTF8_BAD once no continuation can be valid. */
cp__utf8_state cp__utf8_feed(cp__utf8_state state, cp_bytes bytes);

/* Is this, as a whole, valid UTF-8? */
bool cp__utf8_valid(cp_bytes bytes);

#endif
