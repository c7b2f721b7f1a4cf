/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "options.h"

#include "die.h"
#include "traffic.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: load relay|fanout|idle|storm --ports PORT,... [OPTION]...\n"
    "\n"
    "  relay    messages to random users; every one is checked\n"
    "  fanout   messages to everybody; likewise\n"
    "  idle     open connections and hold them\n"
    "  storm    wait until Redis went away and came back (or reconnect all\n"
    "           users): how long does it take, is everybody served again\n"
    "\n"
    "  --ports PORT,...       of the nodes that the users are on\n"
    "  --send-ports PORT,...  of those that the senders are on (the same)\n"
    "  --pids NAME=PID,...    whose CPU and memory count: node=..., redis=...\n"
    "  --users N              (1000)\n"
    "  --first-user N         the number of the first (0): several of these\n"
    "                         programs can share the work\n"
    "  --senders N            (32; fanout: 1)\n"
    "  --size BYTES           of a message (64)\n"
    "  --window N             messages under way, each sender (32); fanout: so\n"
    "                         many at once, the next when all have arrived (1)\n"
    "  --rate N               messages a second, whatever the answers\n"
    "  --warmup SECONDS       (2)\n"
    "  --seconds SECONDS      to measure (5)\n"
    "  --concurrency N        handshakes at once (64)\n"
    "  --slow-half            fanout: measure again when half don't read\n"
    "  --redis-port PORT      storm: the Redis to watch\n"
    "  --reconnect            storm: reset all connections and open them again\n"
    "  --label TEXT           for the report, one line of JSON\n";

enum {
  PORTS,
  SEND_PORTS,
  PIDS,
  USERS,
  FIRST_USER,
  SENDERS,
  SIZE,
  WINDOW,
  RATE,
  WARMUP,
  SECONDS,
  CONCURRENCY,
  SLOW_HALF,
  REDIS_PORT,
  RECONNECT,
  LABEL,
  HELP
};

static const struct option long_options[] = {
    {"ports", required_argument, NULL, PORTS},
    {"send-ports", required_argument, NULL, SEND_PORTS},
    {"pids", required_argument, NULL, PIDS},
    {"users", required_argument, NULL, USERS},
    {"first-user", required_argument, NULL, FIRST_USER},
    {"senders", required_argument, NULL, SENDERS},
    {"size", required_argument, NULL, SIZE},
    {"window", required_argument, NULL, WINDOW},
    {"rate", required_argument, NULL, RATE},
    {"warmup", required_argument, NULL, WARMUP},
    {"seconds", required_argument, NULL, SECONDS},
    {"concurrency", required_argument, NULL, CONCURRENCY},
    {"slow-half", no_argument, NULL, SLOW_HALF},
    {"redis-port", required_argument, NULL, REDIS_PORT},
    {"reconnect", no_argument, NULL, RECONNECT},
    {"label", required_argument, NULL, LABEL},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static double read_number(const char *text, double min, double max) {
  char *end;
  double number = strtod(text, &end);

  if (end == text || *end != '\0' || !(number >= min && number <= max))
    die("'%s' is no number from %g to %g", text, min, max);
  return number;
}

static uint32_t read_count(const char *text, double min, double max) {
  return (uint32_t)read_number(text, min, max);
}

static void read_ports(ports *out, char *text) {
  char *port;

  for (port = strtok(text, ","); port != NULL; port = strtok(NULL, ",")) {
    if (out->n == PORTS_MAX)
      die("more than %d ports", PORTS_MAX);
    out->list[out->n++] = (uint16_t)read_count(port, 1, 65535);
  }
}

static void take_number(options *o, int which, const char *value) {
  switch (which) {
  case USERS:
    o->users = read_count(value, 1, 1e6);
    break;
  case FIRST_USER:
    o->first_user = read_count(value, 0, 1e9);
    break;
  case SENDERS:
    o->senders = read_count(value, 1, STAMP_SENDERS_MAX);
    break;
  case SIZE:
    o->size = read_count(value, STAMP_LEN, 1e6);
    break;
  case WINDOW:
    o->window = read_count(value, 1, 1e6);
    break;
  case RATE:
    o->rate = read_number(value, 0, 1e9);
    break;
  case WARMUP:
    o->warmup = read_number(value, 0, 3600);
    break;
  case SECONDS:
    o->seconds = read_number(value, 0.1, 3600);
    break;
  case CONCURRENCY:
    o->concurrency = read_count(value, 1, 1e6);
    break;
  case REDIS_PORT:
    o->redis_port = (uint16_t)read_count(value, 1, 65535);
    break;
  default:
    fputs("load --help lists the options\n", stderr);
    exit(2);
  }
}

static void take(options *o, int which, char *value) {
  switch (which) {
  case PORTS:
    read_ports(&o->user_ports, value);
    break;
  case SEND_PORTS:
    read_ports(&o->send_ports, value);
    break;
  case PIDS:
    if (!procs_parse(&o->procs, value))
      die("--pids: '%s' does not name running processes", value);
    break;
  case SLOW_HALF:
    o->slow_half = true;
    break;
  case RECONNECT:
    o->reconnect = true;
    break;
  case LABEL:
    o->label = value;
    break;
  case HELP:
    fputs(usage, stdout);
    exit(0);
  default:
    take_number(o, which, value);
  }
}

static void set_defaults(options *o) {
  memset(o, 0, sizeof *o);
  o->label = "";
  o->users = 1000;
  o->concurrency = 64;
  o->size = 64;
  o->warmup = 2;
  o->seconds = 5;
}

static void complete(options *o, int argc, char **argv) {
  bool fanout;

  if (optind != argc - 1)
    die("one mode is wanted; load --help lists them");
  o->mode = argv[optind];
  fanout = strcmp(o->mode, "fanout") == 0;
  if (o->user_ports.n == 0)
    die("--ports is missing");
  if (o->send_ports.n == 0)
    o->send_ports = o->user_ports;
  if (fanout && o->senders > 1)
    die("fanout has one sender");
  if (o->senders == 0)
    o->senders = fanout ? 1 : 32;
  if (o->window == 0)
    o->window = fanout ? 1 : 32;
}

void options_parse(options *o, int argc, char **argv) {
  int which;

  set_defaults(o);
  while ((which = getopt_long(argc, argv, "", long_options, NULL)) != -1)
    take(o, which, optarg);
  complete(o, argc, argv);
}
