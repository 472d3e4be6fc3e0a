import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { below, socketBelow } from "../src/address.js";

test("the server's paths are below the page's own folder", () => {
  const check = (/** @type {string} */ page, /** @type {string} */ expected) => assert.equal(below("/health", page), expected);
  check("http://127.0.0.1:30000/", "http://127.0.0.1:30000/health");
  check("http://host/index.html?a=b#key=x", "http://host/health");
  check("https://host/world/", "https://host/world/health");
  check("https://host/a%20b/world/index.html#key=x", "https://host/a%20b/world/health");
});

test("a socket is encrypted if the page is, and shows no key in its address", () => {
  assert.equal(socketBelow("/v1/x", "http://host:1/#key=k"), "ws://host:1/v1/x");
  assert.equal(socketBelow("/v1/x", "https://host/http/"), "wss://host/http/v1/x");
});

test("nothing in the page names a path from the host's root", () => {
  const read = (/** @type {string} */ path) => readFileSync(new URL(path, import.meta.url), "utf8");
  const sources = readdirSync(new URL("../src", import.meta.url), { recursive: true, encoding: "utf8" });
  for (const path of sources.filter((path) => path.endsWith(".js"))) {
    const text = read(`../src/${path}`);
    for (const [call] of text.matchAll(/(?:fetch|new URL|new WebSocket|new Worker|import)\(\s*["'`]\/[^)]*/g)) assert.fail(`${path}: ${call}`);
    assert.ok(!text.includes("location.host"), path);
  }
  for (const [attribute] of read("../index.html").matchAll(/(?:href|src|action)="\/[^"]*"/g)) assert.fail(attribute);
  for (const [url] of read("../style.css").matchAll(/url\(["']?\/[^)]*/g)) assert.fail(url);
});
