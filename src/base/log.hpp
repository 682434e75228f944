// Messages for people. A library stays silent until main installs a sink. Levels are the historical ones of
// the command line: -1 errors and warnings (stderr), 0 normal progress, 1 external commands, 3 details, 4
// everything (stdout). Which levels are shown and where is the sink's business.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string>
#include <utility>

namespace ploop {

enum class LogLevel : int { Error = -1, Progress = 0, Command = 1, Detail = 3, Debug = 4 };

using LogSink = std::function<void(LogLevel, const std::string&)>;

/// Installs the sink; called once by main before other threads exist. An empty one silences everything.
void set_log_sink(LogSink sink);
/// Hands one line (without newline) to the sink, if there is one.
void log_line(LogLevel level, const std::string& line);

template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  log_line(level, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::Error, format, std::forward<Args>(args)...);
}

}  // namespace ploop
