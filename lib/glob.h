/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_GLOB_H
#define CP_GLOB_H

/* Glob: patterns as Redis' PSUBSCRIBE has them: * any bytes, ? any byte, [abc]
 * [a-z] [^a] one of (not of) these, \ takes the next byte as it is. */

#include "clusterpush/base.h"

#include <stdbool.h>

/* Does the pattern match all of the text? In at most pattern.len * text.len
 * steps. */
bool cp__glob_matches(cp_bytes pattern, cp_bytes text);

/* Could it match a text that begins so? Exact, but for sets that are empty and
 * stand behind the part that meets `begin`: these pass for possible. */
bool cp__glob_may_begin(cp_bytes pattern, cp_bytes begin);

#endif
