// All that is recorded: a row for each day, a block for each hour, coloured by what its minutes hold.

import { holesIn } from "./names.js";
import { HOUR, MINUTE, parseHour, roughly } from "./times.js";

const COLOURS = { full: "#3fb79f", suspect: "#d9a441", partial: "#cf7f3c", hole: "#e5566d", none: "#1f2a36" };

// from harmless to what must be seen: a minute shows the worst that it holds
const WORSE = ["none", "full", "suspect", "partial", "hole"];

const HOURS_AT_ONCE = 2;

/** Events: `go` (detail: a moment). */
export class Overview extends EventTarget {
  #box;
  #recording = null;
  #rows = new Map(); // day -> its row
  #cells = new Map(); // hour name -> its button
  #drawn = new Map(); // hour name -> what it was drawn from
  #queue = [];
  #busy = 0;

  constructor(box) {
    super();
    this.#box = box;
    box.addEventListener("click", (event) => this.#clicked(event));
    box.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show another recording, or nothing. */
  reset(recording) {
    this.#recording = recording;
    this.#queue = [];
    for (const map of [this.#rows, this.#cells, this.#drawn]) map.clear();
    this.#box.replaceChildren();
  }

  /** Draw what has changed; hours not yet known are read from the server, the newest first. */
  show({ date, start, end }) {
    if (!this.#recording?.hours.length) return;
    this.#addRows();
    for (const name of this.#recording.hours) this.#showHour(name);
    for (const [name, cell] of this.#cells) {
      const first = parseHour(name);
      cell.classList.toggle("here", date !== null && date >= first && date < first + HOUR);
      cell.classList.toggle("selected", start !== null && end !== null && start < first + HOUR && end > first);
    }
    this.#read();
  }

  #addRows() {
    const fresh = this.#recording.hours.filter((name) => !this.#cells.has(name));
    if (!fresh.length) return;
    if (!this.#rows.size) this.#box.append(scale());
    for (const name of fresh) {
      const onDay = name.slice(0, 10);
      if (!this.#rows.has(onDay)) this.#addRow(onDay);
      const cell = document.createElement("button");
      cell.type = "button";
      cell.tabIndex = this.#cells.size ? -1 : 0;
      cell.dataset.hour = name;
      this.#rows.get(onDay).children[1 + Number(name.slice(11))].replaceWith(cell);
      this.#cells.set(name, cell);
      this.#queue.push(name);
    }
    this.#markMissing();
  }

  /** Mark the hours between the first and the last recorded that have nothing at all. */
  #markMissing() {
    const [first, last] = [this.#recording.hours[0], this.#recording.hours.at(-1)];
    for (const [onDay, row] of this.#rows) {
      for (let hour = 0; hour < 24; hour += 1) {
        const block = row.children[1 + hour];
        const name = `${onDay}T${String(hour).padStart(2, "0")}`;
        const isMissing = block.className.startsWith("void") && first < name && name < last;
        if (!isMissing) continue;
        block.className = "void missing";
        block.title = `${name.slice(11)}:00 UTC: nothing recorded`;
      }
    }
  }

  #addRow(onDay) {
    const row = element("div", "day");
    const label = element("span");
    const [weekday, rest] = dayLabel(onDay);
    label.textContent = `${weekday} ${rest}`;
    label.title = onDay;
    row.append(label, ...Array.from({ length: 24 }, () => element("i", "void")));
    const later = [...this.#rows.keys()].filter((other) => other > onDay).sort()[0];
    this.#box.insertBefore(row, this.#rows.get(later) ?? null);
    this.#rows.set(onDay, row);
    this.#box.scrollTop = this.#box.scrollHeight;
  }

  #showHour(name) {
    const spans = this.#recording.known(name);
    const { first, edge } = this.#recording;
    const from = Math.max(parseHour(name), first ?? 0);
    const to = Math.min(parseHour(name) + HOUR, edge ?? Infinity);
    const key = spans && `${spans.length} ${spans.at(-1)?.end} ${from} ${to}`;
    if (this.#drawn.get(name) === key && key !== undefined) return;
    const cell = this.#cells.get(name);
    if (!spans) {
      cell.setAttribute("aria-label", `${name.replace("T", " ")}:00 UTC`);
      return;
    }
    this.#drawn.set(name, key);
    const { spans: touching } = this.#recording.spansIn(from, to);
    const holes = to > from ? holesIn(touching, from, to) : [];
    cell.style.backgroundImage = gradient(parseHour(name), touching, holes);
    cell.title = `${name.slice(11)}:00 UTC: ${inWords(touching, holes)}`;
    cell.setAttribute("aria-label", `${name.slice(0, 10)} ${cell.title}`);
  }

  #read() {
    const recording = this.#recording;
    while (this.#busy < HOURS_AT_ONCE && this.#queue.length) {
      this.#busy += 1;
      const name = this.#queue.pop();
      recording
        .load(name)
        .then(() => recording === this.#recording && this.#showHour(name))
        .catch(() => recording === this.#recording && this.#queue.unshift(name)) // the next look will try again
        .then(() => {
          this.#busy -= 1;
          if (recording.known(name)) this.#read();
        });
    }
  }

  #clicked(event) {
    const name = event.target.closest("button")?.dataset.hour;
    if (!name) return;
    const { left, width } = event.target.getBoundingClientRect();
    // a click of the keyboard has no place: the hour's begin
    const into = event.detail ? Math.min(1, Math.max(0, (event.clientX - left) / width)) : 0;
    const moment = parseHour(name) + into * HOUR;
    this.dispatchEvent(new CustomEvent("go", { detail: Math.max(moment, this.#recording.first ?? moment) }));
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -24, ArrowDown: 24 }[event.key];
    const name = event.target.dataset.hour;
    if (!step || !name) return;
    event.preventDefault();
    event.stopPropagation();
    const wanted = parseHour(name) + step * HOUR;
    const hours = this.#recording.hours;
    const next = step > 0 ? hours.find((one) => parseHour(one) >= wanted) : hours.findLast((one) => parseHour(one) <= wanted);
    if (!next) return;
    event.target.tabIndex = -1;
    const cell = this.#cells.get(next);
    cell.tabIndex = 0;
    cell.focus();
  }
}

function element(tag, className = "") {
  const made = document.createElement(tag);
  made.className = className;
  return made;
}

function scale() {
  const row = element("div", "day scale");
  row.setAttribute("aria-hidden", "true");
  for (let hour = -1; hour < 24; hour += 1) {
    const label = element("span");
    label.textContent = hour >= 0 && hour % 3 === 0 ? String(hour).padStart(2, "0") : "";
    row.append(label);
  }
  return row;
}

function dayLabel(onDay) {
  const date = new Date(`${onDay}T12:00:00Z`);
  const said = (options) => date.toLocaleDateString("en-GB", { timeZone: "UTC", ...options });
  return [said({ weekday: "short" }), said({ day: "numeric" })];
}

/** A picture of an hour as a CSS gradient: runs of minutes that look alike. */
function gradient(first, spans, holes) {
  const minutes = new Array(60).fill("none");
  const mark = (start, end, type) => {
    const to = Math.min(59, Math.ceil((end - first) / MINUTE) - 1);
    for (let at = Math.max(0, Math.floor((start - first) / MINUTE)); at <= to; at += 1) {
      if (WORSE.indexOf(type) > WORSE.indexOf(minutes[at])) minutes[at] = type;
    }
  };
  for (const { start, end, type } of spans) mark(start, end, type);
  for (const { start, end } of holes) mark(start, end, "hole");
  const stops = [];
  for (let from = 0, at = 1; at <= 60; at += 1) {
    if (at < 60 && minutes[at] === minutes[from]) continue;
    stops.push(`${COLOURS[minutes[from]]} ${(from / 0.6).toFixed(1)}% ${(at / 0.6).toFixed(1)}%`);
    from = at;
  }
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}

function inWords(spans, holes) {
  if (!spans.length) return "nothing recorded";
  const missing = holes.reduce((sum, { start, end }) => sum + end - start, 0);
  const words = [];
  if (holes.length) words.push(`${holes.length === 1 ? "a hole" : `${holes.length} holes`}, ${roughly(missing)} missing`);
  for (const type of ["partial", "suspect"]) {
    const lasts = spans.filter((span) => span.type === type).reduce((sum, { start, end }) => sum + end - start, 0);
    if (lasts) words.push(`${roughly(lasts)} ${type}`);
  }
  return words.join("; ") || "complete";
}

