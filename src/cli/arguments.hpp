// Options and operands of one command, with the habits of getopt that scripts rely on: options behind
// operands, bundled flags (-rF), attached values (-s10g), "--", a repeated option where the last one wins,
// abbreviated long options. -h and --help belong to every command.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/exit_code.hpp"
#include "base/result.hpp"

namespace ploop::cli {

/// What `ploop` and `ploop COMMAND --help` say about a command.
struct CommandText {
  std::string_view name;
  std::string_view summary;  ///< for the list of commands
  std::string_view usage;    ///< one line per form, without the word "Usage"
  std::string_view help;     ///< what it does, options, examples
};

/// Why a command line does not lead to a command: help was asked for, or it is wrong.
struct Stop {
  ExitCode code = ExitCode::Param;
  std::string text;
  [[nodiscard]] bool is_help() const { return code == ExitCode::Ok; }
};

template <typename T>
using Parsed = tl::expected<T, Stop>;

std::string usage_text(const CommandText& command);
std::string help_text(const CommandText& command);
/// A wrong command line: the message and the usage.
tl::unexpected<Stop> usage_error(const CommandText& command, std::string_view message);
/// The usage alone, for operands that are missing.
tl::unexpected<Stop> usage_only(const CommandText& command);
/// A wrong value: the message alone.
tl::unexpected<Stop> value_error(std::string_view message, ExitCode code = ExitCode::Param);

/// Collects what to look for, then parses once. The targets must outlive it.
class Arguments {
 public:
  explicit Arguments(const CommandText& command);
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  ~Arguments();

  /// `names` as "-n" or "-n,--nolazy" or "--nolazy".
  void flag(const std::string& names, bool& target);
  void value(const std::string& names, std::optional<std::string>& target);
  /// May be given several times, each counts.
  void values(const std::string& names, std::vector<std::string>& target);

  /// The operands, in order.
  Parsed<std::vector<std::string>> parse(const std::vector<std::string>& args);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// For parsers: the value of a Parsed, or return its Stop.
#define PARSED(...)                                                                      \
  __extension__({                                                                        \
    auto parsed_ = (__VA_ARGS__);                                                        \
    if (!parsed_) return tl::unexpected<::ploop::cli::Stop>(std::move(parsed_).error()); \
    *std::move(parsed_);                                                                 \
  })

}  // namespace ploop::cli
