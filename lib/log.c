/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>

#define LINE_MAX_LEN 1024

void cp__logf(const cp__log *log, cp_log_level level, const char *format, ...) {
  char line[LINE_MAX_LEN];
  va_list args;
  char *p;

  if (log->cb == NULL || level > log->level)
    return;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  for (p = line; *p != '\0'; p++)
    if ((unsigned char)*p < 0x20 || *p == 0x7f)
      *p = '?';
  log->cb(log->data, level, line);
}
