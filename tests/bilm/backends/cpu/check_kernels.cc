// Compares the kernels with plain loops in double precision, for each instruction set that
// the processor has. Prints a line for each; exits with 1 if a result differs.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

#include "char_cnn.hh"
#include "gemm.hh"
#include "lstm.hh"
#include "softmax.hh"

namespace {

using namespace spacy_elmo;
typedef std::vector<float> Floats;
typedef std::vector<double> Doubles;
typedef std::vector<char> Bytes;

// per_unit: operands that are multiplied at a time: 1 in float32, 2 in bfloat16, 4 in int8.
// takes_weights: whether it only takes the weights of LSTMs, which are then in float16.
struct Set {
  const char* name;
  int code, per_unit;
  bool takes_weights = false;
};

const Set kSets[] = {
    {"avx2", 1, 1},         {"avx512", 2, 1},     {"avx512_bf16", 3, 2},
    {"avx2, int8", 4, 4},   {"avx_vnni", 5, 4},   {"avx512_vnni", 6, 4},
    {"neon", 7, 1},         {"neon, int8", 8, 4}, {"neon_dotprod", 9, 4},
    {"neon_bf16", 10, 2},   {"avx2, float16", 11, 1, true},
    {"avx512, float16", 12, 1, true}, {"neon, float16", 13, 1, true},
};

const int kThreads[] = {1, 3, 8};

int n_failures = 0;

// Fails if results differ from what is expected by more than `tolerance`, relative to the
// largest of them.
void expect_close(const char* name, const Floats& found, const Doubles& expected,
                  double tolerance) {
  double largest = 1e-30, error = 0.0;
  for (double number : expected) largest = std::fmax(largest, std::fabs(number));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::fabs(found[i] - expected[i]);
    if (!(difference <= error)) error = difference;
  }
  if (found.size() == expected.size() && error <= tolerance * largest) return;
  std::printf("  %s: expected a relative error of at most %g, found %g\n", name, tolerance,
              error / largest);
  ++n_failures;
}

uint32_t random_state;

Floats random_floats(int64_t n, float scale = 1.0f) {
  Floats numbers(n);
  for (float& number : numbers) {
    random_state = random_state * 1664525u + 1013904223u;
    number = scale * (static_cast<float>(random_state >> 8) / (1 << 23) - 1.0f);
  }
  return numbers;
}

// Random numbers below a half that float16 represents.
Floats random_halves(int64_t n) {
  Floats numbers = random_floats(n, 0.4f);
  for (float& number : numbers) number = std::nearbyint(number * 4096.0f) / 4096.0f;
  return numbers;
}

Doubles as_doubles(const Floats& numbers) { return {numbers.begin(), numbers.end()}; }

float rounded_to_bfloat16(float number) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  std::memcpy(&number, &bits, sizeof bits);
  return number;
}

// What rows (n, width) are multiplied as.
Doubles as_multiplied(const Floats& rows, int64_t width, int per_unit) {
  Doubles numbers = as_doubles(rows);
  if (per_unit == 2)
    for (double& number : numbers) number = rounded_to_bfloat16(number);
  if (per_unit == 4)
    for (size_t row = 0; row < rows.size(); row += width)
      for (int64_t k = 0; k < width; k += 256) {
        const int64_t first = row + k, last = row + (k + 256 < width ? k + 256 : width);
        float most = 0.0f;
        for (int64_t i = first; i < last; ++i)
          most = std::fmax(most, std::fabs(rows[i]));
        const double scale = most / 127.0f, inverse = most > 0.0f ? 127.0f / most : 0.0f;
        for (int64_t i = first; i < last; ++i)
          numbers[i] = scale * std::nearbyint(rows[i] * inverse);
      }
  return numbers;
}

// left (n, n_in) · rightᵀ, right (n_out, n_in)
Doubles product(const Doubles& left, const Doubles& right, int64_t n_in) {
  Doubles results;
  for (size_t l = 0; l < left.size(); l += n_in)
    for (size_t r = 0; r < right.size(); r += n_in) {
      double sum = 0.0;
      for (int64_t k = 0; k < n_in; ++k) sum += left[l + k] * right[r + k];
      results.push_back(sum);
    }
  return results;
}

template <class Number>
std::vector<Number> transposed(const std::vector<Number>& matrix, int64_t n_columns) {
  const int64_t n_rows = matrix.size() / n_columns;
  std::vector<Number> result(matrix.size());
  for (int64_t r = 0; r < n_rows; ++r)
    for (int64_t c = 0; c < n_columns; ++c)
      result[c * n_rows + r] = matrix[r * n_columns + c];
  return result;
}

int64_t operand_bytes(const Set& set, int64_t width) {
  width = round_up(width, set.per_unit);
  if (set.per_unit == 4) return width + 4 * ceil_div(width, 256);
  return width * (set.per_unit == 2 ? 2 : 4);
}

// Rows (n, width) as operands.
Bytes operands(const Set& set, const Floats& rows, int64_t width) {
  const int64_t n = rows.size() / width, stride = operand_bytes(set, width);
  Bytes bytes(n * stride);
  if (set.per_unit == 4) {
    quantize_rows({n, width, round_up(width, 4), kQuantizedBlock, rows.data(),
                   reinterpret_cast<int8_t*>(bytes.data())},
                  set.code, 3);
    return bytes;
  }
  for (int64_t r = 0; r < n; ++r)
    for (int64_t k = 0; k < width; ++k) {
      float number = rows[r * width + k];
      if (set.per_unit == 1) {
        std::memcpy(&bytes[r * stride + 4 * k], &number, 4);
      } else {
        uint32_t bits;
        number = rounded_to_bfloat16(number);
        std::memcpy(&bits, &number, sizeof bits);
        bits >>= 16;
        std::memcpy(&bytes[r * stride + 2 * k], &bits, 2);
      }
    }
  return bytes;
}

// A weight (n_out, n_in), or if transposed (n_in, n_out), in panels.
Bytes packed(const Set& set, const Floats& weight, int64_t n_in, bool is_transposed = false,
             bool gates = false) {
  const int64_t n_out = weight.size() / n_in, columns = panel_columns(set.code);
  int64_t n_units = ceil_div(n_in, set.per_unit);
  if (set.per_unit == 4) n_units += 2 * ceil_div(n_in, 256);
  Bytes panels(ceil_div(n_out, columns) * columns * n_units * 4);
  pack({n_in, n_out, kQuantizedBlock, weight.data(), is_transposed, gates, false,
        panels.data()},
       set.code, 3);
  return panels;
}

struct Elementwise {
  const float* numbers;
  float *sigmoids, *tanhs, *clamped, *rounded;

  template <class Isa> ELMO_INLINE void run(int64_t first, int64_t last) const {
    for (int64_t k = first; k < last; k += Isa::width) {
      const auto x = load<Isa>(numbers + k);
      store<Isa>(sigmoids + k, sigmoid<Isa>(x));
      store<Isa>(tanhs + k, tanh<Isa>(x));
      store<Isa>(clamped + k, clamp<Isa>(x, -3.0f, 3.0f));
      store<Isa>(rounded + k, round_to_bfloat16<Isa>(x));
    }
  }
};

void check_elementwise(const Set& set) {
  Floats numbers = random_floats(1024, 20.0f);
  numbers[0] = std::numeric_limits<float>::infinity();
  numbers[1] = -numbers[0];
  const size_t n = numbers.size();
  Floats sigmoids(n), tanhs(n), clamped(n), rounded(n);
  const Elementwise kernel{numbers.data(), sigmoids.data(), tanhs.data(), clamped.data(),
                           rounded.data()};
  run_part(kernel, 0, n, set.code);
  Doubles expected[4];
  for (float x : numbers) {
    expected[0].push_back(1.0 / (1.0 + std::exp(-static_cast<double>(x))));
    expected[1].push_back(std::tanh(x));
    expected[2].push_back(std::fmin(std::fmax(x, -3.0f), 3.0f));
    expected[3].push_back(rounded_to_bfloat16(x));
  }
  expect_close("sigmoid", sigmoids, expected[0], 5e-7);
  expect_close("tanh", tanhs, expected[1], 1e-6);
  expect_close("clamp", clamped, expected[2], 0.0);
  // Infinity minus infinity is not a number.
  expected[3][0] = expected[3][1] = rounded[0] = rounded[1] = 0.0;
  expect_close("round_to_bfloat16", rounded, expected[3], 0.0);
  numbers.assign(n, std::numeric_limits<float>::quiet_NaN());
  run_part(kernel, 0, n, set.code);
  for (const Floats* results : {&sigmoids, &tanhs, &clamped, &rounded})
    if (!std::isnan((*results)[5])) {
      std::printf("  expected NaN, found %g\n", (*results)[5]);
      ++n_failures;
    }
}

void check_linear(const Set& set, int64_t n, int64_t n_in, int64_t n_out) {
  const Floats rows = random_floats(n * n_in), weight = random_floats(n_out * n_in);
  Floats bias = random_floats(n_out);
  Doubles expected = product(as_multiplied(rows, n_in, set.per_unit),
                             as_multiplied(weight, n_in, set.per_unit), n_in);
  for (int64_t i = 0; i < n * n_out; ++i) expected[i] += bias[i % n_out];
  bias.resize(round_up(n_out, panel_columns(set.code)));
  const Bytes left = operands(set, rows, n_in);
  for (bool is_transposed : {false, true}) {
    if (is_transposed && set.per_unit == 4) continue;
    const Bytes panels = is_transposed
                             ? packed(set, transposed(weight, n_in), n_in, true)
                             : packed(set, weight, n_in);
    for (int n_threads : kThreads) {
      Floats outputs(n * n_out);
      linear({n, round_up(n_in, set.per_unit), n_out, left.data(), panels.data(),
              bias.data(), outputs.data(), 0},
             set.code, n_threads);
      expect_close("linear", outputs, expected, 2e-6);
    }
  }
}

void check_outer_products(const Set& set, int64_t n, int64_t n_left, int64_t n_right) {
  const Floats left = random_floats(n * n_left), right = random_floats(n * n_right);
  const Doubles expected =
      product(transposed(as_multiplied(right, n_right, set.per_unit), n_right),
              transposed(as_multiplied(left, n_left, set.per_unit), n_left), n);
  const Bytes left_rows = operands(set, left, n_left);
  const Bytes right_rows = operands(set, right, n_right);
  for (bool is_transposed : {false, true})
    for (int n_threads : kThreads) {
      Floats result(n_left * n_right);
      OuterProducts kernel{};
      kernel.n_rows = n;
      kernel.n_right = n_right;
      kernel.right = right_rows.data();
      kernel.lefts = {{n_left, left_rows.data(), result.data(), is_transposed, nullptr, 0}};
      outer_products(kernel, set.code, n_threads);
      if (is_transposed) result = transposed(result, n_right);
      expect_close("outer products", result, expected, 2e-6);
    }
}

// Sequences through one LSTM, as parameters and as plain loops.
struct Lstm {
  int64_t dim, width, n_sequences;
  std::vector<int64_t> batch_sizes;
  int64_t n_rows = 0;
  bool projects;
  Floats input_weight, hidden_weight, projection, bias, inputs, hidden, cell;
  float cell_clip = 0.8f, projection_clip = 0.3f;

  struct State {
    Doubles outputs, hidden, cell;
  };

  Lstm(int64_t dim, int64_t width, std::vector<int64_t> sizes)
      : dim(dim),
        width(width),
        n_sequences(sizes[0]),
        batch_sizes(sizes),
        projects(dim != width) {
    for (int64_t size : sizes) n_rows += size;
    input_weight = random_halves(4 * dim * width);
    hidden_weight = random_halves(4 * dim * width);
    projection = random_halves(width * dim);
    bias = random_floats(4 * dim);
    inputs = random_floats(n_rows * width);
    hidden = random_floats(n_sequences * width, 0.3f);
    cell = random_floats(n_sequences * dim, 0.8f);
  }

  static double clipped(double x, double bound) {
    return std::fmin(std::fmax(x, -bound), bound);
  }

  static double squashed(double x) { return 1.0 / (1.0 + std::exp(-x)); }

  State run(const Doubles& from, const Doubles& first_hidden, const Doubles& first_cell,
            int per_unit) const {
    State state{{}, first_hidden, first_cell};
    const Doubles by_input = as_multiplied(input_weight, width, per_unit);
    const Doubles by_hidden = as_multiplied(hidden_weight, width, per_unit);
    const Doubles by_projection = as_multiplied(projection, dim, per_unit);
    // In float32 nothing is rounded, so that differences of small steps are exact.
    const auto multiplied = [&](const double* row, int64_t n) {
      const Doubles numbers(row, row + n);
      return per_unit == 1
                 ? numbers
                 : as_multiplied(Floats(numbers.begin(), numbers.end()), n, per_unit);
    };
    int64_t row = 0;
    for (int64_t size : batch_sizes)
      for (int64_t s = 0; s < size; ++s, ++row) {
        double* const h = &state.hidden[s * width];
        double* const c = &state.cell[s * dim];
        const Doubles a = product(multiplied(&from[row * width], width), by_input, width);
        const Doubles b = product(multiplied(h, width), by_hidden, width);
        const auto gate = [&](int64_t k) { return a[k] + b[k] + bias[k]; };
        Doubles output(dim);
        for (int64_t k = 0; k < dim; ++k) {
          const double i = squashed(gate(k)), f = squashed(gate(dim + k));
          const double g = std::tanh(gate(2 * dim + k)), o = squashed(gate(3 * dim + k));
          c[k] = clipped(f * c[k] + i * g, cell_clip);
          output[k] = o * std::tanh(c[k]);
        }
        if (projects) {
          output = product(multiplied(output.data(), dim), by_projection, dim);
          for (double& number : output) number = clipped(number, projection_clip);
        }
        std::copy(output.begin(), output.end(), h);
        state.outputs.insert(state.outputs.end(), output.begin(), output.end());
      }
    return state;
  }

  State run(int per_unit) const {
    return run(as_doubles(inputs), as_doubles(hidden), as_doubles(cell), per_unit);
  }

  template <class AnyPass> void set(const Set& set, AnyPass& pass) const {
    pass.n_steps = batch_sizes.size();
    pass.batch_sizes = batch_sizes.data();
    pass.dim = pass.cell_depth = dim;
    pass.width = pass.depth = width;
    pass.cell_clip = cell_clip;
    pass.projection_clip = projection_clip;
    pass.rounds = false;
  }
};

// A kernel's forward pass and its buffers.
struct ForwardRun {
  Floats outputs, hidden, cell, gates, cells, unquantized;
  Bytes input_panels, hidden_panels, projection_panels, inputs, rows, hidden_operands;
  Forward pass{};

  ForwardRun(const Set& set, const Lstm& lstm, bool keeps)
      : outputs(lstm.n_rows * lstm.width),
        hidden(lstm.hidden),
        cell(lstm.cell),
        gates(lstm.n_rows * 4 * lstm.dim),
        cells(lstm.n_rows * lstm.dim),
        unquantized(lstm.n_sequences * lstm.dim),
        input_panels(packed(set, lstm.input_weight, lstm.width, false, true)),
        hidden_panels(packed(set, lstm.hidden_weight, lstm.width, false, true)),
        projection_panels(packed(set, lstm.projection, lstm.dim)),
        inputs(operands(set, lstm.inputs, lstm.width)),
        rows(lstm.n_rows * operand_bytes(set, lstm.dim)),
        hidden_operands(lstm.n_sequences * operand_bytes(set, lstm.width)) {
    lstm.set(set, pass);
    pass.input_panels = input_panels.data();
    pass.hidden_panels = hidden_panels.data();
    pass.projection_panels = lstm.projects ? projection_panels.data() : nullptr;
    pass.bias = lstm.bias.data();
    pass.inputs = inputs.data();
    pass.gates = keeps ? gates.data() : nullptr;
    pass.cells = keeps ? cells.data() : nullptr;
    pass.rows = rows.data();
    pass.unquantized = unquantized.data();
    pass.outputs = outputs.data();
    pass.hidden = hidden.data();
    pass.cell = cell.data();
    pass.hidden_operands = hidden_operands.data();
    if (set.per_unit == 1) pass.hidden_operands = hidden.data();
  }
};

void check_lstm(const Set& set, const Lstm& lstm, int n_threads) {
  const Lstm::State expected = lstm.run(set.per_unit);
  const double tolerance = set.per_unit == 1 ? 5e-6 : 2e-2;
  ForwardRun run(set, lstm, false);
  run_lstms(&run.pass, 1, lstm.n_sequences, set.code, n_threads);
  expect_close("LSTM, outputs", run.outputs, expected.outputs, tolerance);
  expect_close("LSTM, hidden state", run.hidden, expected.hidden, tolerance);
  expect_close("LSTM, cell state", run.cell, expected.cell, tolerance);
}

// Compares gradients with differences of the loss: the sum of all results, each times a
// random number.
void check_lstm_gradients(const Set& set, const Lstm& lstm, int n_threads) {
  ForwardRun forward(set, lstm, true);
  run_lstms(&forward.pass, 1, lstm.n_sequences, set.code, n_threads);
  const Floats d_outputs = random_floats(forward.outputs.size());
  Floats d_hidden = random_floats(lstm.hidden.size());
  Floats d_cell = random_floats(lstm.cell.size());
  Floats d_inputs(lstm.inputs.size());

  Doubles parts[] = {as_doubles(lstm.inputs), as_doubles(lstm.hidden),
                     as_doubles(lstm.cell)};
  const Doubles weights[] = {as_doubles(d_outputs), as_doubles(d_hidden),
                             as_doubles(d_cell)};
  const auto loss = [&]() {
    const Lstm::State state = lstm.run(parts[0], parts[1], parts[2], 1);
    return product(weights[0], state.outputs, state.outputs.size())[0] +
           product(weights[1], state.hidden, state.hidden.size())[0] +
           product(weights[2], state.cell, state.cell.size())[0];
  };

  Bytes d_gates(lstm.n_rows * operand_bytes(set, 4 * lstm.dim));
  Bytes d_projected(lstm.n_rows * operand_bytes(set, lstm.width));
  const Bytes input_panels = packed(set, lstm.input_weight, 4 * lstm.dim, true);
  const Bytes hidden_panels = packed(set, lstm.hidden_weight, 4 * lstm.dim, true);
  const Bytes projection_panels = packed(set, lstm.projection, lstm.width, true);
  Backward pass{};
  lstm.set(set, pass);
  pass.input_panels = input_panels.data();
  pass.hidden_panels = hidden_panels.data();
  pass.projection_panels = lstm.projects ? projection_panels.data() : nullptr;
  pass.gates = forward.gates.data();
  pass.cells = forward.cells.data();
  pass.outputs = forward.outputs.data();
  pass.first_cell = lstm.cell.data();
  pass.d_outputs = d_outputs.data();
  pass.d_inputs = d_inputs.data();
  pass.d_gates = d_gates.data();
  pass.d_projected = d_projected.data();
  pass.d_hidden = d_hidden.data();
  pass.d_cell = d_cell.data();
  run_lstms(&pass, 1, lstm.n_sequences, set.code, n_threads);

  const Floats* const gradients[] = {&d_inputs, &d_hidden, &d_cell};
  const double step = 1e-6;
  for (int part = 0; part < 3; ++part) {
    Floats found;
    Doubles expected;
    for (size_t i = 0; i < parts[part].size(); i += parts[part].size() / 5) {
      const double before = parts[part][i];
      parts[part][i] = before + step;
      const double above = loss();
      parts[part][i] = before - step;
      expected.push_back((above - loss()) / (2 * step));
      parts[part][i] = before;
      found.push_back((*gradients[part])[i]);
    }
    expect_close("LSTM, gradients", found, expected, set.per_unit == 1 ? 1e-4 : 0.2);
  }
}

void check_char_cnn(const Set& set) {
  const int64_t n = 23, C = 11, E = 5, F = 37, K = 4 * E, columns = panel_columns(set.code);
  const int64_t padded = round_up(F, columns);
  const Floats characters = random_floats(n * C * E);
  Floats weight = random_floats(F * K), limits(padded);
  std::vector<int64_t> n_windows(n), filter_depths(F);
  for (int64_t word = 0; word < n; ++word) n_windows[word] = 1 + word % C;
  for (int64_t f = 0; f < F; ++f) {
    const int64_t width = 1 + f * 4 / F;
    filter_depths[f] = width * E;
    limits[f] = C - width + 1;
    for (int64_t k = width * E; k < K; ++k) weight[f * K + k] = 0.0f;
  }
  const std::vector<int64_t> depths(padded / columns, K);
  // The kernel may read what follows a word's last windows, and multiplies it by zero.
  Floats extended = characters;
  extended.resize(extended.size() + K);
  const Bytes panels = packed(set, weight, K);
  Floats best(n * padded);
  std::vector<int32_t> where(n * padded);
  response({n, C, E, padded, K, extended.data(), n_windows.data(),
            reinterpret_cast<const float*>(panels.data()), depths.data(), limits.data(),
            best.data(), where.data()},
           set.code, 3);
  Floats found;
  Doubles expected;
  std::vector<int32_t> places;
  for (int64_t word = 0; word < n; ++word)
    for (int64_t f = 0; f < F; ++f) {
      double most = -1e30;
      int32_t place = 0;
      for (int64_t at = 0; at < n_windows[word] && at < limits[f]; ++at) {
        double sum = 0.0;
        for (int64_t k = 0; k < filter_depths[f]; ++k)
          sum += weight[f * K + k] * extended[(word * C + at) * E + k];
        if (sum > most) most = sum, place = at;
      }
      expected.push_back(most);
      places.push_back(place);
      found.push_back(best[word * padded + f]);
      if (where[word * padded + f] != place) {
        std::printf("  character CNN: expected window %d, found %d\n", place,
                    where[word * padded + f]);
        ++n_failures;
      }
    }
  expect_close("character CNN", found, expected, 2e-6);

  const Floats d_best = random_floats(n * F);
  Floats d_characters(characters.size()), d_weight(F * K);
  Doubles by_characters(characters.size()), by_weight(F * K);
  for (int64_t i = 0; i < n * F; ++i)
    for (int64_t k = 0; k < filter_depths[i % F]; ++k) {
      const int64_t c = (i / F * C + places[i]) * E + k, w = i % F * K + k;
      by_characters[c] += static_cast<double>(d_best[i]) * weight[w];
      by_weight[w] += static_cast<double>(d_best[i]) * characters[c];
    }
  response_gradients({n, C, E, F, K, filter_depths.data(), d_best.data(), places.data(),
                      characters.data(), weight.data(), d_characters.data(),
                      d_weight.data()},
                     set.code, 3);
  expect_close("character CNN, gradient of characters", d_characters, by_characters, 5e-6);
  expect_close("character CNN, gradient of filters", d_weight, by_weight, 5e-6);
}

void check_softmax(const Set& set, int64_t n, int64_t n_words, int64_t width) {
  const int64_t columns = panel_columns(set.code), n_padded = round_up(n_words, columns);
  const int64_t depth = round_up(width, set.per_unit);
  const Floats hidden = random_floats(n * width), weight = random_floats(n_words * width);
  const Floats d_loss = random_floats(n);
  Floats bias = random_floats(n_words);
  std::vector<int64_t> targets(n);
  for (int64_t r = 0; r < n; ++r) targets[r] = r * 7 % (n_words + 1);
  const Doubles logits = product(as_multiplied(hidden, width, set.per_unit),
                                 as_multiplied(weight, width, set.per_unit), width);
  Doubles totals, entropies, chosen, d_logits;
  for (int64_t r = 0; r < n; ++r) {
    double sum = 0.0, weighted = 0.0;
    for (int64_t w = 0; w < n_words; ++w) {
      const double x = logits[r * n_words + w] + bias[w];
      sum += std::exp(x);
      weighted += std::exp(x) * x;
    }
    totals.push_back(std::log(sum));
    entropies.push_back(std::log(sum) - weighted / sum);
    const int64_t at = targets[r] - 1;
    chosen.push_back(at < 0 ? 0.0 : logits[r * n_words + at] + bias[at]);
    for (int64_t w = 0; w < n_words; ++w) {
      const double share = std::exp(logits[r * n_words + w] + bias[w]) / sum;
      d_logits.push_back(d_loss[r] * (share - (targets[r] == w + 1)));
    }
  }
  bias.resize(n_padded, -1e30f);
  const Bytes rows = operands(set, hidden, width), panels = packed(set, weight, width);
  const Logits of{n, n_words, width, depth, rows.data(), panels.data(), bias.data(),
                  targets.data()};
  Floats total(n), target(n), entropy(n), d_hidden(n * width);
  LogSumExp kernel{};
  static_cast<Logits&>(kernel) = of;
  kernel.total = total.data();
  kernel.target = target.data();
  kernel.entropy = entropy.data();
  log_sum_exp(kernel, set.code, 3);
  expect_close("log-sum-exp", total, totals, 2e-6);
  expect_close("entropy", entropy, entropies, 1e-5);
  expect_close("logits of the targets", target, chosen, 2e-6);

  const Bytes back_panels = packed(set, weight, n_words, true);
  Bytes room(n * operand_bytes(set, n_padded));
  LogitGradient gradient{};
  static_cast<Logits&>(gradient) = of;
  gradient.total = total.data();
  gradient.d_loss = d_loss.data();
  gradient.back_panels = back_panels.data();
  gradient.n_padded = n_padded;
  gradient.back_depth = round_up(n_words, set.per_unit);
  gradient.d_logits = room.data();
  gradient.d_hidden = d_hidden.data();
  logit_gradients(gradient, set.code, 3);
  expect_close("gradient of the loss", d_hidden,
               product(d_logits, transposed(as_doubles(weight), width), n_words),
               set.per_unit == 1 ? 1e-5 : 2e-2);
}

void check(const Set& set) {
  random_state = 1;
  const int64_t columns = panel_columns(set.code);
  if (set.per_unit == 1 && !set.takes_weights) {
    check_elementwise(set);
    check_char_cnn(set);
  }
  if (!set.takes_weights) {
    check_linear(set, 1, 1, 1);
    check_linear(set, 5, 7, 33);
    check_linear(set, 50, 101, 67);
    check_linear(set, 49, 1030, 130);
  }
  for (int n_threads : kThreads) {
    check_lstm(set, Lstm(2 * columns, columns, {7, 7, 5, 2, 1}), n_threads);
    check_lstm(set, Lstm(columns, columns, {1, 1, 1}), n_threads);
    check_lstm(set, Lstm(columns, columns, {101, 30}), n_threads);
  }
  if (set.per_unit == 4 || set.takes_weights) return;
  check_outer_products(set, 203, 6, 70);
  check_outer_products(set, 1, 30, 2);
  for (int n_threads : kThreads) {
    check_lstm_gradients(set, Lstm(2 * columns, columns, {7, 5, 2, 1}), n_threads);
    check_lstm_gradients(set, Lstm(columns, columns, {3, 3}), n_threads);
  }
  check_softmax(set, 1, 2, 1);
  check_softmax(set, 53, 300, 41);
}

}  // namespace

int main() {
  for (const Set& set : kSets)
    if (processor_has(set.code)) {
      std::printf("%s\n", set.name);
      check(set);
    }
  return n_failures > 0;
}
