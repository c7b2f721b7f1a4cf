/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "clusterpush/clusterpush.h"

const char *cp_version(void) {
  return CP_VERSION;
}
