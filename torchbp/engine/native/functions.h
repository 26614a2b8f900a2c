/* The functions that the operations of torch need, of float and of double, in a form that compilers turn into vectors.
 * exp, log and what is made of them are within 2 units of the last place; nan and inf go through as in C's library. */
#include <math.h>
#include <string.h>

typedef long long int64;

#define INLINE static inline __attribute__((always_inline))

#define BITS(FLOAT, INT, NAME)                                                                                        \
  INLINE FLOAT FLOAT##_of_bits(INT bits) { FLOAT x; memcpy(&x, &bits, sizeof x); return x; }                          \
  INLINE INT NAME##_bits(FLOAT x) { INT bits; memcpy(&bits, &x, sizeof x); return bits; }
BITS(float, int, float)
BITS(double, int64, double)

/* x = n ln 2 + r with |r| <= ln(2)/2; the nearest integer by adding and taking away a number with no fraction */
INLINE float rounded_float(float x) { const float big = 12582912.f; return (x + big) - big; }
INLINE double rounded_double(double x) { const double big = 6755399441055744.; return (x + big) - big; }

/* e^r - 1 - r, |r| <= 0.35, by its series */
INLINE float exp_tail_float(float r) {
  float p = 1.f / 40320;
  p = p * r + 1.f / 5040; p = p * r + 1.f / 720; p = p * r + 1.f / 120; p = p * r + 1.f / 24; p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  return p * r * r;
}
INLINE double exp_tail_double(double r) {
  double p = 1. / 87178291200.;
  p = p * r + 1. / 6227020800.; p = p * r + 1. / 479001600.; p = p * r + 1. / 39916800.; p = p * r + 1. / 3628800.;
  p = p * r + 1. / 362880.; p = p * r + 1. / 40320.; p = p * r + 1. / 5040.; p = p * r + 1. / 720.;
  p = p * r + 1. / 120.; p = p * r + 1. / 24.; p = p * r + 1. / 6.; p = p * r + 0.5;
  return p * r * r;
}
/* 2^n in two factors, so that the largest and the smallest numbers are reached */
INLINE float scaled_float(float p, int n) {
  int half = n >> 1;
  return p * float_of_bits((half + 127) << 23) * float_of_bits((n - half + 127) << 23);
}
INLINE double scaled_double(double p, int64 n) {
  int64 half = n >> 1;
  return p * double_of_bits((half + 1023) << 52) * double_of_bits((n - half + 1023) << 52);
}
/* the integer of a rounded number, whose last bits are the integer's once a number with no fraction is added */
INLINE int integer_float(float n) { return float_bits(n + 12582912.f) - 0x4b400000; }
INLINE int64 integer_double(double n) { return double_bits(n + 6755399441055744.) - 0x4338000000000000LL; }

INLINE float exp_float(float x) {
  x = x > 89.f ? 89.f : x;
  x = x < -104.f ? -104.f : x;
  float n = rounded_float(x * 1.44269504f);
  float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  return scaled_float(1 + (r + exp_tail_float(r)), integer_float(n));
}
INLINE double exp_double(double x) {
  x = x > 710. ? 710. : x;
  x = x < -746. ? -746. : x;
  double n = rounded_double(x * 1.4426950408889634074);
  double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  return scaled_double(1 + (r + exp_tail_double(r)), integer_double(n));
}

/* e^x - 1 = 2^n (e^r - 1) + (2^n - 1) */
INLINE float expm1_float(float x) {
  float c = x > 89.f ? 89.f : x;
  c = c < -20.f ? -20.f : c;
  float n = rounded_float(c * 1.44269504f);
  float r = (c - n * 0.693359375f) + n * 2.12194440e-4f;
  int i = integer_float(n);
  float e = r + exp_tail_float(r);
  float s = scaled_float(1, i), whole = i > 100 ? scaled_float(1 + e, i) : s * e + (s - 1);
  return n == 0 ? (x == 0 ? x : e) : whole;
}
INLINE double expm1_double(double x) {
  double c = x > 710. ? 710. : x;
  c = c < -45. ? -45. : c;
  double n = rounded_double(c * 1.4426950408889634074);
  double r = (c - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  int64 i = integer_double(n);
  double e = r + exp_tail_double(r);
  double s = scaled_double(1, i), whole = i > 1000 ? scaled_double(1 + e, i) : s * e + (s - 1);
  return n == 0 ? (x == 0 ? x : e) : whole;
}

/* x = 2^n m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1)/(m + 1) */
INLINE float log_float(float x) {
  int tiny = x < 1.17549435e-38f;
  float y = tiny ? x * 33554432.f : x;
  int bits = float_bits(y), n = (bits - 0x3f3504f3) >> 23;
  float m = float_of_bits(bits - (n << 23)), f = m - 1, s = f / (m + 1), q = s * s;
  float t = q * (2.f / 3 + q * (2.f / 5 + q * (2.f / 7 + q * (2.f / 9))));
  float k = (float)n - (tiny ? 25.f : 0.f);
  /* log(1 + f) = f - s (f - t) with 2 s = f - s f */
  float value = k * 0.693359375f + (f - (s * (f - t) + k * 2.12194440e-4f));
  value = x == INFINITY || x != x ? x : value;
  return x > 0 ? value : (x == 0 ? -INFINITY : NAN);
}
INLINE double log_double(double x) {
  int tiny = x < 2.2250738585072014e-308;
  double y = tiny ? x * 18014398509481984. : x;
  int64 bits = double_bits(y), n = (bits - 0x3fe6a09e667f3bcdLL) >> 52;
  double m = double_of_bits(bits - (n << 52)), f = m - 1, s = f / (m + 1), q = s * s;
  double t = 2. / 21;
  t = t * q + 2. / 19; t = t * q + 2. / 17; t = t * q + 2. / 15; t = t * q + 2. / 13; t = t * q + 2. / 11;
  t = t * q + 2. / 9; t = t * q + 2. / 7; t = t * q + 2. / 5; t = t * q + 2. / 3; t = t * q;
  double k = (double)n - (tiny ? 54. : 0.);
  double value = k * 6.93147180369123816490e-01 + (f - (s * (f - t) - k * 1.90821492927058770002e-10));
  value = x == INFINITY || x != x ? x : value;
  return x > 0 ? value : (x == 0 ? -INFINITY : NAN);
}

#define OF_BOTH(T, F)                                                                                                 \
  INLINE T abs_##T(T x) { return __builtin_fabs##F(x); }                                                              \
  INLINE T sqrt_##T(T x) { return __builtin_sqrt##F(x); }                                                             \
  INLINE T floor_##T(T x) { return __builtin_floor##F(x); }                                                           \
  INLINE T ceil_##T(T x) { return __builtin_ceil##F(x); }                                                             \
  INLINE T round_##T(T x) { return __builtin_nearbyint##F(x); }                                                       \
  INLINE T sin_##T(T x) { return sin##F(x); }                                                                         \
  INLINE T cos_##T(T x) { return cos##F(x); }                                                                         \
  INLINE T erf_##T(T x) { return erf##F(x); }                                                                         \
  INLINE T erfc_##T(T x) { return erfc##F(x); }                                                                       \
  INLINE T sign_##T(T x) { return (x > 0) - (x < 0); }                                                              \
  INLINE T max_##T(T x, T y) { return x > y || x != x ? x : y; }                                                      \
  INLINE T min_##T(T x, T y) { return x < y || x != x ? x : y; }                                                      \
  INLINE T sigmoid_##T(T x) { return 1 / (1 + exp_##T(-x)); }                                                         \
  INLINE T lerp_##T(T x, T y, T w) { return abs_##T(w) < (T)0.5 ? x + w * (y - x) : y - (y - x) * (1 - w); }          \
  INLINE T log1p_##T(T x) {                                                                                           \
    T u = 1 + x, log_u = log_##T(u);                                                                                  \
    T value = log_u + (x - (u - 1)) / u;                                                                              \
    return u == 1 ? x : (x == INFINITY || !(x > -1) ? log_u : value);                                                 \
  }                                                                                                                   \
  INLINE T tanh_##T(T x) {                                                                                            \
    T y = abs_##T(x), e = expm1_##T(2 * (y > 22 ? 22 : y));                                                           \
    T t = e / (e + 2);                                                                                                \
    t = x != x ? x : t;                                                                                               \
    return __builtin_copysign##F(t, x);                                                                               \
  }
OF_BOTH(float, f)
OF_BOTH(double, )

/* |x|^y = e^(y log |x|); of a negative x the sign is that of its integer power, and others are none */
INLINE double pow_double(double x, double y) {
  double size = exp_double(y * log_double(abs_double(x))), whole = floor_double(y);
  double odd = whole - 2 * floor_double(whole / 2), negative = whole == y ? (odd == 1 ? -size : size) : NAN;
  double power = x < 0 ? negative : size;
  return y == 0 || x == 1 ? 1 : power;
}
INLINE float pow_float(float x, float y) { return (float)pow_double(x, y); }

#define OF_INTEGERS(T, NAME)                                                                                          \
  INLINE T max_##NAME(T x, T y) { return x > y ? x : y; }                                                             \
  INLINE T min_##NAME(T x, T y) { return x < y ? x : y; }                                                             \
  INLINE T abs_##NAME(T x) { return x < 0 ? -x : x; }                                                                 \
  INLINE T sign_##NAME(T x) { return (x > 0) - (x < 0); }                                                             \
  INLINE T floor_##NAME(T x) { return x; }                                                                            \
  INLINE T ceil_##NAME(T x) { return x; }                                                                             \
  INLINE T round_##NAME(T x) { return x; }
OF_INTEGERS(int64, long_long)
OF_INTEGERS(int, int)

/* vectors of so many numbers; {0} sets all of them to 0 */
#define LOAD(TYPE, FROM) ({ TYPE loaded; memcpy(&loaded, FROM, sizeof loaded); loaded; })
#define STORE(TYPE, TO, VALUE) do { TYPE stored = VALUE; memcpy(TO, &stored, sizeof stored); } while (0)
#ifdef __clang__
#define IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define IVDEP _Pragma("GCC ivdep")
#endif
typedef float float1;
typedef double double1;
INLINE float sum_float1(float v) { return v; }
INLINE double sum_double1(double v) { return v; }
#define VECTOR(T, SIZE, N, HALF)                                                                                      \
  typedef T T##N __attribute__((vector_size(SIZE)));                                                                  \
  INLINE T sum_##T##N(T##N v) {                                                                                       \
    T##HALF low, high;                                                                                                \
    memcpy(&low, &v, sizeof low);                                                                                     \
    memcpy(&high, (char *)&v + sizeof low, sizeof high);                                                              \
    return sum_##T##HALF(low + high);                                                                                 \
  }
VECTOR(float, 8, 2, 1)
VECTOR(float, 16, 4, 2)
VECTOR(float, 32, 8, 4)
VECTOR(float, 64, 16, 8)
VECTOR(double, 16, 2, 1)
VECTOR(double, 32, 4, 2)
VECTOR(double, 64, 8, 4)

/* to[i * of_to + j] = from[i + j * of_from], in blocks of 8 x 8: their rows exchange numbers in three rounds */
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLED(X, Y, ...) __builtin_shufflevector(X, Y, __VA_ARGS__)
#define TRANSPOSE(T)                                                                                                  \
  INLINE void exchange1_##T(T##8 *a, T##8 *b) {                                                                       \
    T##8 x = *a, y = *b;                                                                                              \
    *a = SHUFFLED(x, y, 0, 8, 2, 10, 4, 12, 6, 14);                                                                   \
    *b = SHUFFLED(x, y, 1, 9, 3, 11, 5, 13, 7, 15);                                                                   \
  }                                                                                                                   \
  INLINE void exchange2_##T(T##8 *a, T##8 *b) {                                                                       \
    T##8 x = *a, y = *b;                                                                                              \
    *a = SHUFFLED(x, y, 0, 1, 8, 9, 4, 5, 12, 13);                                                                    \
    *b = SHUFFLED(x, y, 2, 3, 10, 11, 6, 7, 14, 15);                                                                  \
  }                                                                                                                   \
  INLINE void exchange4_##T(T##8 *a, T##8 *b) {                                                                       \
    T##8 x = *a, y = *b;                                                                                              \
    *a = SHUFFLED(x, y, 0, 1, 2, 3, 8, 9, 10, 11);                                                                    \
    *b = SHUFFLED(x, y, 4, 5, 6, 7, 12, 13, 14, 15);                                                                  \
  }                                                                                                                   \
  static void transpose_##T(T *restrict to, const T *restrict from, long rows, long columns, long of_to,              \
                            long of_from) {                                                                           \
    long whole_rows = rows & ~7, whole_columns = columns & ~7;                                                        \
    for (long i = 0; i < whole_rows; i += 8) {                                                                        \
      for (long j = 0; j < whole_columns; j += 8) {                                                                   \
        T##8 v[8];                                                                                                    \
        for (int k = 0; k < 8; k++) v[k] = LOAD(T##8, from + i + (j + k) * of_from);                                  \
        for (int k = 0; k < 8; k += 2) exchange1_##T(v + k, v + k + 1);                                               \
        for (int k = 0; k < 8; k++) if (!(k & 2)) exchange2_##T(v + k, v + k + 2);                                    \
        for (int k = 0; k < 4; k++) exchange4_##T(v + k, v + k + 4);                                                  \
        for (int k = 0; k < 8; k++) STORE(T##8, to + (i + k) * of_to + j, v[k]);                                      \
      }                                                                                                               \
      for (long k = i; k < i + 8; k++)                                                                                \
        for (long j = whole_columns; j < columns; j++) to[k * of_to + j] = from[k + j * of_from];                     \
    }                                                                                                                 \
    for (long i = whole_rows; i < rows; i++)                                                                          \
      for (long j = 0; j < columns; j++) to[i * of_to + j] = from[i + j * of_from];                                   \
  }
#else
#define TRANSPOSE(T)                                                                                                  \
  static void transpose_##T(T *restrict to, const T *restrict from, long rows, long columns, long of_to,              \
                            long of_from) {                                                                           \
    for (long i = 0; i < rows; i++)                                                                                   \
      for (long j = 0; j < columns; j++) to[i * of_to + j] = from[i + j * of_from];                                   \
  }
#endif
TRANSPOSE(float)
TRANSPOSE(double)

/* a place in a table; one that is outside is checked before the program runs, and reads the first here */
INLINE int64 within(int64 place, int64 size) { return place >= 0 && place < size ? place : 0; }
