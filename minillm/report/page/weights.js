// The weights of this file, from bytes to numbers. fp16 as it is; int8 and int4 in groups of 32 that share a scale.

function half(bits) { // a 16-bit floating point number: a sign, 5 bits of exponent, 10 of fraction
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : fraction * 2 ** -24);
}
const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => half(bits));
const halves = (raw, at, size) => Float32Array.from(new Uint16Array(raw, at, size), (bits) => HALVES[bits]);

function bytesOfBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// name -> {shape, numbers}; or {shape, numbers, scales, least, group}: then a number is to be multiplied by the scale of
// its group, and of int4 the least number of the group is to be added.
function unpack(bytes, entries) {
  const weights = {}, raw = bytes.buffer;
  for (const { name, shape, at, kind, group } of entries) {
    const size = shape.reduce((a, b) => a * b, 1), columns = shape.at(-1), rows = columns ? size / columns : 0;
    if (kind === "fp32") weights[name] = { shape, numbers: new Float32Array(raw, at, size) };
    else if (kind === "fp16") weights[name] = { shape, numbers: halves(raw, at, size) };
    else {
      const groups = rows * Math.ceil(columns / group), room = 4 * Math.ceil(groups / 2), scales = halves(raw, at, groups);
      if (kind === "int8") weights[name] = { shape, numbers: new Int8Array(raw, at + room, size), scales, group };
      else {
        const pairs = new Uint8Array(raw, at + 2 * room, Math.ceil(size / 2)), numbers = new Int8Array(size);
        for (let i = 0; i < size; i++) numbers[i] = (pairs[i >> 1] >> (4 * (i & 1))) & 15; // two in a byte, one low
        weights[name] = { shape, numbers, scales, least: halves(raw, at + room, groups), group };
      }
    }
  }
  return weights;
}
