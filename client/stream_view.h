#pragma once

// What a stream of tasks has kept, for people: its matrix as a table and as a drawing, and a training's gains and losses.

#include <string>
#include <vector>

#include "engram/v1/job.pb.h"

namespace engram::client {

// The matrix of one metric as rows of a table with a header: a row per training, a column per task, "-" for what was not
// measured. Scores in per cent.
std::vector<std::vector<std::string>> MatrixRows(const engram::v1::StreamMetrics& metrics);

// "gained 2.1 on topics and lost 0.4 on intents", in points of accuracy or entity F1, of the tasks that were measured
// before and after; empty if none was.
std::string GainsAndLosses(const engram::v1::JobResult& result);

// What a search for a strength measured, as rows of a table with a header: a row per strength, the chosen one marked.
// Scores in per cent. Empty if there was none.
std::vector<std::vector<std::string>> SweepRows(const engram::v1::StrengthSweep& sweep);

// The matrices as one SVG drawing: a cell per score, from white (0) to a dark blue (1), with the score in per cent in it
// and in its title. Names are escaped. Empty if there is no matrix.
std::string HeatMap(const std::vector<engram::v1::StreamMetrics>& streams, const std::string& title);

// Writes it to a file and says so. The exit status; without a matrix nothing is written.
int WriteHeatMap(const std::vector<engram::v1::StreamMetrics>& streams, const std::string& title,
                 const std::string& path);

}  // namespace engram::client
