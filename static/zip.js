// Writes zip archives. Source: PKWARE's APPNOTE.TXT. Nothing is compressed: PNGs are already.

const DATE = 0x21; // 1 January 1980, the first that the format knows

function checksum(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

// Little-endian numbers, [value, bytes] each.
function pack(...fields) {
  return fields.flatMap(([value, size]) => Array.from({ length: size }, (_, i) => (value / 256 ** i) & 255));
}

// Takes [name, bytes] of each file, returns the bytes of the archive.
export function zip(files) {
  const contents = [];
  const directory = [];
  for (const [name, bytes] of files) {
    const encoded = [...new TextEncoder().encode(name)];
    const size = bytes.length;
    const described = pack([20, 2], [0, 2], [0, 2], [0, 2], [DATE, 2], [checksum(bytes), 4], [size, 4], [size, 4],
      [encoded.length, 2], [0, 2]); // prettier-ignore
    const comment = pack([0, 2], [0, 2], [0, 2], [0, 4], [contents.length, 4]);
    directory.push(...pack([0x02014b50, 4], [20, 2]), ...described, ...comment, ...encoded);
    contents.push(...pack([0x04034b50, 4]), ...described, ...encoded, ...bytes);
  }
  const [count, start, length] = [files.length, contents.length, directory.length];
  const end = pack([0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2], [length, 4], [start, 4], [0, 2]);
  return Uint8Array.from([...contents, ...directory, ...end]);
}
