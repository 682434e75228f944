#!/usr/bin/env python3
"""Writes 4 KiB at a time with O_DIRECT until a file appears; prints the longest write in ms.  longest_write.py DEVICE STOP_FILE"""
import mmap
import os
import sys
import time

device = os.open(sys.argv[1], os.O_WRONLY | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
page.write(b"w" * 4096)
longest = 0.0
count = 0
while not os.path.exists(sys.argv[2]):
    started = time.monotonic()
    os.pwrite(device, page, (count % 4000) * 4096)
    longest = max(longest, time.monotonic() - started)
    count += 1
print(round(longest * 1000))
