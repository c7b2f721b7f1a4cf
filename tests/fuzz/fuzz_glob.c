/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Pattern, NUL, text: what matches a text may begin it as well. */

#include "glob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
  cp_bytes pattern, text;
  size_t len;

  if (nul == NULL)
    return 0;
  pattern = cp_bytes_of(data, (size_t)(nul - data));
  text = cp_bytes_of(nul + 1, size - pattern.len - 1);
  if (cp__glob_matches(pattern, text))
    for (len = 0; len <= text.len; len++)
      if (!cp__glob_may_begin(pattern, cp_bytes_of(text.data, len)))
        __builtin_trap();
  return 0;
}
