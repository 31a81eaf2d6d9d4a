// What is recorded of one quality: its hours, and what they cover. Old hours are read once, the newest again and again.

import { list } from "./api.js";
import { bestSequence, holesIn, joinSpans, parseNames, toSpans } from "./names.js";
import { HOUR, iso, parseHour } from "./times.js";

const hourName = (moment) => iso(moment).slice(0, 13);

export class Recording {
  #spans = new Map(); // hour name -> its spans
  #loading = new Map(); // hour name -> promise

  constructor(channel, quality) {
    this.channel = channel;
    this.quality = quality;
    /** The names of all hours, oldest first. */
    this.hours = [];
    /** The first recorded moment and the end of the last segment; null while nothing is recorded. */
    this.first = null;
    this.edge = null;
  }

  /** Look again at what may have changed. */
  async refresh() {
    const hours = await list(this.channel, this.quality);
    const newest = hours.at(-1);
    const before = this.hours.at(-1);
    this.hours = hours;
    for (const gone of [...this.#spans.keys()].filter((name) => !hours.includes(name))) this.#spans.delete(gone);
    if (newest === undefined) {
      this.first = this.edge = null;
      return;
    }
    // what was the newest hour has got its last segments since
    const changed = new Set([newest, ...(before && before !== newest ? [before] : [])]);
    await Promise.all([...changed].filter((name) => hours.includes(name)).map((name) => this.#read(name)));
    await this.#findEnds();
  }

  async #findEnds() {
    const first = await this.#some(this.hours, (spans) => spans[0].start);
    const edge = await this.#some([...this.hours].reverse(), (spans) => Math.max(...spans.map((span) => span.end)));
    this.first = first;
    this.edge = edge;
  }

  async #some(hours, take) {
    for (const name of hours) {
      const spans = await this.load(name);
      if (spans.length) return take(spans);
    }
    return null;
  }

  /** The spans of an hour, from memory or from the server. */
  load(name) {
    return this.#spans.has(name) ? Promise.resolve(this.#spans.get(name)) : this.#read(name);
  }

  /** The spans of an hour if they are in memory, else undefined. */
  known(name) {
    return this.#spans.get(name);
  }

  #read(name) {
    if (!this.#loading.has(name)) {
      const reading = list(this.channel, this.quality, name)
        .then((names) => {
          const spans = toSpans(bestSequence(parseNames(name, names)));
          this.#spans.set(name, spans);
          return spans;
        })
        .finally(() => this.#loading.delete(name));
      this.#loading.set(name, reading);
    }
    return this.#loading.get(name);
  }

  /** The hours recorded that may hold something of a range: a segment may reach in from the hour before. */
  hoursIn(start, end) {
    const [from, to] = [hourName(start - HOUR), hourName(end)];
    return this.hours.filter((name) => from <= name && name <= to);
  }

  /** What is known of a range; `complete` tells whether that is all. */
  spansIn(start, end) {
    const lists = this.hoursIn(start, end).map((name) => this.#spans.get(name));
    const spans = joinSpans(lists.filter(Boolean)).filter((span) => span.end > start && span.start < end);
    return { spans, complete: lists.every(Boolean) };
  }

  /** The holes of a range, read from the server as far as need be. */
  async holes(start, end) {
    await Promise.all(this.hoursIn(start, end).map((name) => this.load(name)));
    return holesIn(this.spansIn(start, end).spans, start, end);
  }

  /** The moment itself if it is recorded, else the next that is; null if none follows. */
  async nextRecorded(moment) {
    for (const name of this.hours.filter((hour) => parseHour(hour) + 2 * HOUR > moment)) {
      const span = (await this.load(name)).find(({ end }) => end > moment);
      if (span) return Math.max(moment, span.start);
    }
    return null;
  }

  /** The moment itself if it is recorded, else the last before it that is; null if nothing precedes. */
  async lastRecorded(moment) {
    for (const name of this.hours.filter((hour) => parseHour(hour) <= moment).reverse()) {
      const span = (await this.load(name)).findLast(({ start }) => start <= moment);
      if (span) return Math.min(moment, span.end - 1);
    }
    return null;
  }
}
