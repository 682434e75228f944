#include "base/log.hpp"

namespace ploop {
namespace {

// The one process-wide object: installed by main before threads start, read-only afterwards.
LogSink& sink() {
  static LogSink instance;
  return instance;
}

}  // namespace

void set_log_sink(LogSink new_sink) {
  sink() = std::move(new_sink);
}

void log_line(LogLevel level, const std::string& line) {
  if (sink()) sink()(level, line);
}

}  // namespace ploop
