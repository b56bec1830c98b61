// The random numbers of PyTorch's CPU generator, so that a seed is the same sprite in Python and here.

const N = 624, M = 397;

/** A generator of 32-bit numbers, MT19937 (Matsumoto & Nishimura 1998), seeded as torch.manual_seed does below 2^32. */
function mersenneTwister(seed) {
  const state = new Uint32Array(N);
  state[0] = seed;
  for (let i = 1; i < N; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  let next = N;
  return () => {
    if (next === N) {
      for (let i = 0; i < N; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % N] & 0x7fffffff);
        state[i] = state[(i + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      next = 0;
    }
    let y = state[next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}

/**
 * torch.randn(size, generator=torch.Generator().manual_seed(seed)), within 1e-5.
 *
 * PyTorch makes 16 normal numbers of 16 uniform ones of 24 bits (Box & Muller 1958).
 * @param {number} size A multiple of 16.
 * @param {number} seed From 0 to 2^32 - 1.
 * @returns {Float32Array}
 */
export function normal(size, seed) {
  const random = mersenneTwister(seed);
  const values = Float32Array.from({ length: size }, () => (random() & 0xffffff) / 0x1000000);
  for (let block = 0; block < size; block += 16) {
    for (let i = block; i < block + 8; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - values[i]));
      const angle = 2 * Math.PI * values[i + 8];
      values[i] = radius * Math.cos(angle);
      values[i + 8] = radius * Math.sin(angle);
    }
  }
  return values;
}
