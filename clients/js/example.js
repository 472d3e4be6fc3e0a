import { Client } from "../../webui/src/client.js";

const client = new Client(process.argv[2], { prompt: "a meadow", size: { width: 96, height: 64 }, maxChunks: 4 });
client.hold(["w"]);
for await (const { chunk, eventId, pieces } of client) {
  console.log(chunk, eventId, pieces.length, "pictures of", pieces[0].length, "bytes");
}
