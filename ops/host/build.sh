#!/bin/sh
# Builds the kernels' tests for a CPU: build.sh FOLDER [checked | DRIVER]. `checked` is with AddressSanitizer, and with locals that
# start as a pattern. DRIVER is a folder of emulated.sh, whose kernels and emulation are taken and not compiled again.
set -e
cd "$(dirname "$0")"
out=$1
mkdir -p "$out"
flags="-std=c++17 -O2 -Wall -Wextra -Wno-unknown-pragmas"
files="kernels simt ptx"
if [ "$2" = checked ]; then
    flags="-std=c++17 -O1 -g1 -Wall -Wextra -Wno-unknown-pragmas -fsanitize=address,bounds,alignment,shift,signed-integer-overflow -fno-sanitize-recover=all -ftrivial-auto-var-init=pattern"
elif [ -n "$2" ]; then
    for file in $files; do ln -sf "$2/$file.o" "$out/$file.o"; done
    files=
fi
for file in $files test/main test/norm test/elementwise test/frames test/products test/attention test/ptx; do
    object=$out/$(echo "$file" | tr / -).o
    # Objects are made again when anything here has changed.
    if [ ! -e "$object" ] || [ -n "$(find . ../kernels -name '*.h' -newer "$object" -o -name '*.cu*' -newer "$object" | head -1)" ] || [ "$file.cpp" -nt "$object" ]; then
        echo "$file"
    fi
done | xargs -r -P 2 -I{} sh -c 'g++ '"$flags"' -DON_HOST -c {}.cpp -o "'"$out"'/$(echo {} | tr / -).o"'
g++ ${flags} "$out"/*.o -o "$out/kernels-test"
