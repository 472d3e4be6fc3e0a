#!/usr/bin/env bash
# Packs the package that the page's modules are, and uses it as a TypeScript program would: `pack.sh FOLDER`, where
# FOLDER/node_modules has TypeScript.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(cd "$1" && pwd)
rm -rf "$folder/js" && mkdir "$folder/js"
PATH="$folder/node_modules/.bin:$PATH" npm pack --silent --pack-destination "$folder/js" "$here/../../webui" > /dev/null
rm -rf "$here/../../webui/types"
cd "$folder/js"
echo '{ "private": true, "type": "module" }' > package.json
npm install --silent --no-audit --no-fund ./causeway-world-*.tgz
cat > use.ts <<'TS'
import { Client, Ended } from "causeway-world";
import { CausewayWorld } from "causeway-world/element";

const client = new Client("ws://127.0.0.1:30000/v1/realtime_video", { prompt: "a meadow", format: "jpeg" });
const held: number = client.hold(["w"]);
client.receipt(held).then(({ chunk }) => console.log(chunk + 1), (why: Ended) => console.log(why.code));
for await (const pictures of client) console.log(pictures.pieces[0].byteLength);
const element: CausewayWorld | null = document.querySelector<CausewayWorld>("causeway-world");
element?.start();
TS
"$folder/node_modules/.bin/tsc" --noEmit --strict --target es2022 --module nodenext --moduleResolution nodenext --lib es2023,dom,dom.iterable use.ts
node -e 'import("causeway-world").then(({ Client }) => console.log("causeway-world has", Client.name))'
