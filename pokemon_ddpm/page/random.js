// Seeds as in studio.py, and the random numbers of PyTorch's CPU generator, so that a seed is the same sprite in Python and here.

const N = 624, M = 397;

/** A generator of 32-bit numbers, MT19937 (Matsumoto & Nishimura 1998), seeded as torch.manual_seed does below 2^32. */
function mersenneTwister(seed) {
  const state = new Uint32Array(N);
  state[0] = seed;
  for (let i = 1; i < N; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  let next = 0;
  return () => {
    const i = next++ % N, both = (state[i] & 0x80000000) | (state[(i + 1) % N] & 0x7fffffff);
    let y = (state[i] = state[(i + M) % N] ^ (both >>> 1) ^ (both & 1 ? 0x9908b0df : 0));
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}

/**
 * torch.randn(size, generator=torch.Generator().manual_seed(seed)), within 1e-5; the size is a multiple of 16, since PyTorch makes
 * 16 normal numbers of 16 uniform ones of 24 bits (Box & Muller 1958).
 */
export function normal(size, seed) {
  const random = mersenneTwister(seed), values = Float32Array.from({ length: size }, () => (random() & 0xffffff) / 0x1000000);
  for (let block = 0; block < size; block += 16) {
    for (let i = block; i < block + 8; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - values[i])), angle = 2 * Math.PI * values[i + 8];
      [values[i], values[i + 8]] = [radius * Math.cos(angle), radius * Math.sin(angle)];
    }
  }
  return values;
}

/** The seed of a sample, as sample_seed in studio.py; a part is the number of a sprite, or the name of a creature's: "2-back". */
export const sampleSeed = (seed, part, candidate) => sha256(`${seed}/${part}/${candidate}`)[0] >>> 1;

/** The SHA-256 of a text (FIPS 180-4), 8 numbers of 32 bits; a page has crypto.subtle with https only. */
export function sha256(text) {
  const bytes = [...new TextEncoder().encode(text), 0x80], words = new Int32Array(16 * Math.ceil((bytes.length + 8) / 64));
  bytes.forEach((byte, i) => (words[i >> 2] |= byte << (24 - 8 * (i % 4))));
  words[words.length - 1] = 8 * (bytes.length - 1);
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  const fraction = (x) => ((x % 1) * 2 ** 32) | 0, turn = (x, n) => (x >>> n) | (x << (32 - n));
  let hash = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
  for (let start = 0; start < words.length; start += 16) {
    const w = [...words.subarray(start, start + 16)];
    let [a, b, c, d, e, f, g, h] = hash;
    primes.forEach((prime, i) => {
      const [x, y] = [w[i - 15], w[i - 2]];
      w[i] ??= (w[i - 16] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + w[i - 7] + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10))) | 0;
      const one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + fraction(Math.cbrt(prime)) + w[i];
      const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
    });
    hash = [a, b, c, d, e, f, g, h].map((value, i) => (value + hash[i]) | 0);
  }
  return Uint32Array.from(hash);
}
