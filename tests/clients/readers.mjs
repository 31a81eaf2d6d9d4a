// Two readers of playlists that we did not write: a playlist per line as JSON in, what each has read per line out.
//
// Both give the same form, in which they can be compared with each other and with Python's m3u8 (tests/conftest.py).

import { createInterface } from "node:readline";
import HLS from "hls-parser";
import { Parser } from "m3u8-parser";

const range = (found) => (found ? [found.length, found.offset ?? 0] : null);
const section = (found) => (found ? [found.uri, range(found.byterange)] : null);

function withHlsParser(text) {
  // Strictly, it demands CAN-BLOCK-RELOAD of every EXT-X-SERVER-CONTROL; the draft does so of Low-Latency HLS only.
  HLS.setOptions({ strictMode: !text.includes("#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL") });
  const found = HLS.parse(text);
  if (found.isMasterPlaylist) {
    const variants = found.variants.map((variant) => ({
      uri: variant.uri,
      bandwidth: variant.bandwidth,
      average: variant.averageBandwidth ?? null,
      codecs: variant.codecs ?? null,
      resolution: variant.resolution ? [variant.resolution.width, variant.resolution.height] : null,
      rate: variant.frameRate ?? null,
    }));
    return { variants };
  }
  const segments = found.segments.map((segment) => ({
    uri: segment.uri,
    duration: segment.duration,
    time: segment.programDateTime ? segment.programDateTime.getTime() : null,
    discontinuity: Boolean(segment.discontinuity),
    range: range(segment.byterange),
    map: section(segment.map),
  }));
  return {
    target: found.targetDuration,
    sequence: found.mediaSequenceBase,
    breaks: found.discontinuitySequenceBase,
    ended: Boolean(found.endlist),
    type: found.playlistType ?? null,
    skipped: found.skip,
    segments,
  };
}

function withM3u8Parser(text) {
  const parser = new Parser();
  parser.on("warn", (event) => {
    throw new Error(event.message);
  });
  parser.push(text);
  parser.end();
  const found = parser.manifest;
  if (found.playlists) {
    const variants = found.playlists.map(({ uri, attributes }) => ({
      uri,
      bandwidth: attributes.BANDWIDTH,
      average: attributes["AVERAGE-BANDWIDTH"] === undefined ? null : Number(attributes["AVERAGE-BANDWIDTH"]),
      codecs: attributes.CODECS ?? null,
      resolution: attributes.RESOLUTION ? [attributes.RESOLUTION.width, attributes.RESOLUTION.height] : null,
      rate: attributes["FRAME-RATE"] ?? null,
    }));
    return { variants };
  }
  const segments = found.segments.map((segment) => ({
    uri: segment.uri,
    duration: segment.duration,
    time: segment.dateTimeObject ? segment.dateTimeObject.getTime() : null,
    discontinuity: Boolean(segment.discontinuity),
    range: range(segment.byterange),
    map: section(segment.map),
  }));
  return {
    target: found.targetDuration,
    sequence: found.mediaSequence,
    breaks: found.discontinuitySequence,
    ended: Boolean(found.endList),
    type: found.playlistType ?? null,
    skipped: found.skip?.skippedSegments ?? 0,
    segments,
  };
}

function attempt(read, text) {
  try {
    return read(text);
  } catch (error) {
    return { refused: String(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const text = JSON.parse(line);
  console.log(
    JSON.stringify({ "hls-parser": attempt(withHlsParser, text), "m3u8-parser": attempt(withM3u8Parser, text) }),
  );
}
