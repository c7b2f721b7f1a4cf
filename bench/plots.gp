# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The libclusterpush authors
#
# Two pictures from the data that table.py left in this directory; `out` is
# where they go.

set terminal svg size 640,360 font 'sans-serif,13' background '#ffffff'
set style fill solid noborder
set border 3 lc '#808080'
set tics nomirror scale 0.5
set grid y lc '#e0e0e0' lt 1
set key top left Left reverse

has(file) = int(system("[ -s ".file." ] && echo 1 || echo 0"))

if (has('cpu.dat')) {
  set output out.'/cpu.svg'
  set title 'CPU for a message relayed from one node to another'
  set ylabel 'microseconds'
  set style data histogram
  set style histogram rowstacked
  set boxwidth 0.5
  set yrange [0:*]
  plot 'cpu.dat' skip 1 using 2:xtic(1) title 'both nodes' lc '#3465a4', \
    '' skip 1 using 3 title 'Redis' lc '#cc6633'
}

if (has('latency.dat')) {
  columns = int(system("awk 'END { print NF }' latency.dat"))
  colours = '#3465a4 #a0a0a0'
  set output out.'/latency.svg'
  set title 'Latency at 5,000 messages a second, everything on one core'
  set ylabel 'microseconds'
  set logscale y
  set format y '%.0f'
  set yrange [10:*]
  set style data histogram
  set style histogram clustered gap 1
  set boxwidth 0.9
  plot for [i = 2:columns] 'latency.dat' using i:xtic(1) \
    title columnheader(i) lc rgb word(colours, i - 1)
}
