"use strict";
// Search over the inverted index; vlp_atlas/search_index.py does the same, line for line.

const Search = (() => {
  const SPACES = /[\t-\r \u00a0\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

  // Upper and lower case alike, composed; by way of upper case, so that sharp s and ss are equal.
  function fold(text) {
    return text.normalize("NFC").toUpperCase().toLowerCase().replaceAll("\u03c2", "\u03c3");
  }

  function words(text) {
    return fold(text).split(SPACES).filter(Boolean);
  }

  // documents: [{names: [folded name, ...]}, ...] in the order of the index.
  function open(packed, documents) {
    const starts = [];
    for (let at = packed.words.indexOf("\n"); at >= 0; at = packed.words.indexOf("\n", at + 1)) starts.push(at);
    const postings = packed.postings.split(",").map((list) => {
      let number = 0;
      return Int32Array.from(list.split("."), (step) => (number += parseInt(step, 36)));
    });
    return { words: packed.words, starts, postings, documents };
  }

  function placeOf(starts, at) {
    let low = 0, high = starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= at) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  // Documents with a word that holds this one.
  function holding(index, word, unverified) {
    const numbers = new Set();
    let at = index.words.indexOf(word);
    while (at >= 0) {
      const place = placeOf(index.starts, at);
      for (const code of index.postings[place]) if (unverified || !(code & 1)) numbers.add(code >> 1);
      const following = place + 1 < index.starts.length ? index.starts[place + 1] : index.words.length;
      at = following < index.words.length ? index.words.indexOf(word, following) : -1;
    }
    return numbers;
  }

  function rank(names, asked, whole) {
    if (names.includes(whole)) return 0;
    if (names.some((name) => name.startsWith(whole))) return 1;
    if (asked.every((word) => names.some((name) => name.includes(word)))) return 2;
    return 3;
  }

  // Numbers of the documents that hold every word of the query, the best first.
  function search(index, query, unverified) {
    const asked = words(query);
    if (!asked.length) return [];
    const whole = asked.join(" ");
    let left = null;
    for (const word of asked) {
      const numbers = holding(index, word, unverified);
      left = left === null ? numbers : new Set([...left].filter((number) => numbers.has(number)));
    }
    const ranked = [...left].map((number) => [rank(index.documents[number].names, asked, whole), number]);
    ranked.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
    return ranked.map(([, number]) => number);
  }

  return { fold, words, open, search };
})();

if (typeof module !== "undefined") module.exports = Search;
