#!/bin/sh
# Builds the kernels' tests for a CPU: build.sh FOLDER [checked]. `checked` is with AddressSanitizer, and with locals that start as a pattern.
set -e
cd "$(dirname "$0")"
out=$1
mkdir -p "$out"
flags="-std=c++17 -O2 -Wall -Wextra -Wno-unknown-pragmas"
if [ "$2" = checked ]; then
    flags="-std=c++17 -O1 -g1 -Wall -Wextra -Wno-unknown-pragmas -fsanitize=address,bounds,alignment,shift,signed-integer-overflow -fno-sanitize-recover=all -ftrivial-auto-var-init=pattern"
fi
for file in kernels simt ptx test/main test/norm test/elementwise test/frames test/products test/attention test/ptx; do
    object=$out/$(echo "$file" | tr / -).o
    # Objects are made again when anything here has changed.
    if [ ! -e "$object" ] || [ -n "$(find . ../kernels -name '*.h' -newer "$object" -o -name '*.cu*' -newer "$object" | head -1)" ] || [ "$file.cpp" -nt "$object" ]; then
        echo "$file"
    fi
done | xargs -r -P 2 -I{} sh -c 'g++ '"$flags"' -DON_HOST -c {}.cpp -o "'"$out"'/$(echo {} | tr / -).o"'
g++ ${flags} "$out"/*.o -o "$out/kernels-test"
