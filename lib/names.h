/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_NAMES_H
#define CP_NAMES_H

/* Names: of users, of groups, and of the channels that are theirs. */

#include "clusterpush/base.h"

#include <stdbool.h>

#define CP__USER_MAX    255
#define CP__PREFIX_MAX  64
#define CP__CHANNEL_MAX 384 /* prefix 64, ":u:{" 255 "}", and some */

/* Write the channel's name; returns its length. Users' ids fit. */
size_t cp__channel_of_user(const char *prefix, cp_bytes user,
                           char out[CP__CHANNEL_MAX]);
size_t cp__channel_of_group(const char *prefix, cp_bytes group,
                            char out[CP__CHANNEL_MAX]);
size_t cp__channel_of_node(const char *prefix, uint64_t instance,
                           char out[CP__CHANNEL_MAX]);
size_t cp__channel_of_all(const char *prefix, char out[CP__CHANNEL_MAX]);

/* 1..255 bytes, not beginning with '}'; groups have the same shape. */
bool cp__user_is_valid(cp_bytes user);
/* 1..64 bytes, none of them a brace, white space or a control character. */
bool cp__prefix_is_valid(const char *prefix);

#endif
