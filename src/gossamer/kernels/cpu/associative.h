// The online rule of an associative unit, as plain pointers and sizes; the rule stands in associative/rule.py.
#pragma once

#include <cstdint>

namespace gossamer {

constexpr std::int64_t kPatternPad = 64;

// m patterns of n binary inputs, one byte 0 or 1 an input: by patterns and by inputs. Every row and every column is padded
// with zeros to whole blocks of kPatternPad. Rows besides as bits.
struct Patterns {
  std::int64_t n, m;  // padded
  const std::uint8_t *rows, *columns;
  const std::uint64_t* bits;
  const std::uint8_t* halves;  // columns, two rows a byte: of every 64, row r in the lower and row 32 + r in the upper half
};

// Memory to work in: of n, m (both padded) or so many elements as said.
struct OnlineScratch {
  double *j, *next, *after, *delta, *signs, *change;          // n
  double *field, *target;                                     // m
  std::int32_t *total, *count, *edges;                        // m
  std::int32_t* lists;                                        // 8 n
  std::uint64_t *connected, *up, *down, *kicked, *gap, *clipped, *kept, *flipped;  // n / 64
  std::uint64_t* violated;                                    // m / 64
  std::uint8_t* none;                                         // n
  std::uint16_t* overlaps;                                    // (m, m) X Xt, where known; or null
  bool* known;                                                // (m) rows of overlaps
};

enum class OnlineStatus : std::int32_t { running = 0, success = 1, out_of_steps = 2, diverged = 3 };

struct OnlineSettings {  // of all units
  std::int64_t n, m, max_steps;
  double rate, tolerance;  // of the l1 step; of |mean|J|/w − 1|
  std::uint32_t chance;    // a weight in the gap is kept, and likewise flipped, with chance / 2^32
  bool older;              // the rule of 2019
  std::int64_t every, records, first_record;  // of the history; every = 0 for none
  bool (*expired)(const OnlineSettings&);  // whether to stop for now
  double deadline;
};

struct OnlineUnit {
  double threshold, robustness, w, kick, quantum, bound;  // of the sum of |J|, above which a unit has diverged
  const std::int8_t* targets;  // (m) 0 or 1
  const double* delta;         // (n)
  const std::int8_t* signs;    // (n) ±1, or null
  std::uint64_t seed;
  double* weights;  // (n), on the grid of quantum
  std::int64_t* steps;
  double* report;   // (4) violated associations, sign violations, gap violations, mean |J|
  double* history;  // (records, 3) violated, share of zeros, mean |J| / w; or null
  std::int32_t* status;
};

struct OnlineKernels {
  void (*learn)(const OnlineSettings&, const Patterns&, const OnlineUnit&, const OnlineScratch&);
};

}  // namespace gossamer
