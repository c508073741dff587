#pragma once

// engram encode of one text of any length: progress on the way, the plan alone with --plan.

#include <cstdint>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/session.h"

namespace engram::client {

// What the command line says of how one text is read; the server checks what goes with what.
struct LongEncodeArguments {
  std::string mode, aggregation, pooling, positions, query, chunks_out;
  int64_t chunk_tokens = 0, overlap = 0, window_tokens = 0;
  std::vector<int64_t> plan_tokens;
  std::string config, device;  // of a plan for a shape
  double temperature = 0, position_factor = 0;
  bool plan = false;

  // Whether any of them was given: they are for one text, not for a file of lines.
  bool any() const;
};

void AddLongEncodeOptions(CLI::App& verb, LongEncodeArguments& arguments);

// One plan for each number of tokens, of the request's model or of the shape in the file `config`. The exit status.
int PlanEncodes(Session& session, engram::v1::LongContextEncodeRequest request, const LongEncodeArguments& arguments);

// `request`: model, version, text, prompt and normalize. `out`: a file for the vector, .npy; empty: numbers on standard
// output. The exit status.
int EncodeText(Session& session, engram::v1::LongContextEncodeRequest request, const LongEncodeArguments& arguments,
               const std::string& out);

}  // namespace engram::client
