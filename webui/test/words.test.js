import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, test } from "node:test";
import { say, speak, spoken } from "../src/words.js";
import { EN } from "../src/words/en.js";
import { ZH } from "../src/words/zh.js";

afterEach(() => speak("en"));

/** The `{names}` of a text. @param {string} text */
const names = (text) => (text.match(/\{\w+\}/g) ?? []).sort();

test("both languages say the same things, with the same values in them", () => {
  assert.deepEqual(Object.keys(ZH), Object.keys(EN));
  for (const [word, text] of Object.entries(EN)) {
    const other = ZH[/** @type {keyof typeof EN} */ (word)];
    assert.deepEqual(names(other), names(text), word);
    assert.ok(text !== "" && other !== "", word);
  }
});

test("Chinese is written in Chinese", () => {
  for (const [word, text] of Object.entries(EN)) {
    // Some are marks between other words, or end in a unit alone.
    if (/[a-z]{2}/i.test(text.replace(/\{\w+\}/g, ""))) assert.match(ZH[/** @type {keyof typeof EN} */ (word)], /[\u4e00-\u9fff]|^\/ /, word);
  }
});

test("every word that the document asks for is there, and its English stands where it is written", () => {
  const page = readFileSync(new URL("../index.html", import.meta.url), "utf8");
  const asked = [...page.matchAll(/ data-word(?:-\w+)?="([^"]+)"/g)].map(([, word]) => word);
  assert.ok(asked.length > 50);
  assert.deepEqual(asked.filter((word) => !(word in EN)), []);
  for (const [, word, text] of page.matchAll(/ data-word="(\w+)"[^>]*>([^<]+)</g)) {
    assert.equal(text, EN[/** @type {keyof typeof EN} */ (word)], word);
  }
});

test("the browser's first language that the page speaks is chosen", () => {
  assert.equal(spoken(["zh-CN", "en"]), "zh");
  assert.equal(spoken(["fr", "ZH-tw", "en"]), "zh");
  assert.equal(spoken(["fr", "en-GB", "zh"]), "en");
  assert.equal(spoken([]), "en");
});

test("values stand where their names are", () => {
  assert.equal(say("line", { fps: 16 }), "16 pictures a second");
  speak("zh");
  assert.equal(say("line", { fps: 16 }), "每秒 16 幅画面");
});
