#include "cli/arguments.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <deque>

namespace ploop::cli {
namespace {

/// CLI11 takes "[a,b]" apart as a list; a file may be called that. Such words travel behind this character.
constexpr char kShield = '\x01';

std::string shielded(const std::string& word) {
  return word.size() >= 2 && word.front() == '[' && word.back() == ']' ? kShield + word : word;
}
std::string unshielded(std::string word) {
  if (!word.empty() && word.front() == kShield) word.erase(0, 1);
  return word;
}

/// "-n,--nolazy" -> "--nolazy"; "" when there is no long form.
std::string long_form(const std::string& names) {
  const std::size_t at = names.find("--");
  return at == std::string::npos ? "" : names.substr(at);
}

}  // namespace

std::string usage_text(const CommandText& command) {
  std::string text;
  std::string_view rest = command.usage;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    // A line that begins with a blank goes on with the form above it.
    const std::string_view lead = text.empty()            ? "Usage: ploop "
                                  : rest.starts_with(' ') ? "             "
                                                          : "       ploop ";
    text += fmt::format("{}{}\n", lead, rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return text;
}

std::string help_text(const CommandText& command) {
  return usage_text(command) + "\n" + std::string(command.help);
}

tl::unexpected<Stop> usage_error(const CommandText& command, std::string_view message) {
  return tl::unexpected<Stop>(Stop{ExitCode::Param, fmt::format("{}\n{}Try 'ploop {} --help'.\n", message,
                                                                usage_text(command), command.name)});
}

tl::unexpected<Stop> usage_only(const CommandText& command) {
  return tl::unexpected<Stop>(
      Stop{ExitCode::Param, fmt::format("{}Try 'ploop {} --help'.\n", usage_text(command), command.name)});
}

tl::unexpected<Stop> value_error(std::string_view message, ExitCode code) {
  return tl::unexpected<Stop>(Stop{code, fmt::format("{}\n", message)});
}

struct Arguments::Impl {
  explicit Impl(const CommandText& text) : command(text) {
    app.set_help_flag();
    app.add_flag("-h,--help", help);
    long_flags.emplace_back("--help");
  }

  /// Unfinished long names completed; an error text for one that is ambiguous or has a value it must not
  /// have.
  tl::expected<std::vector<std::string>, std::string> complete(const std::vector<std::string>& args) const;
  [[nodiscard]] std::string explain(const CLI::ParseError& error) const;

  const CommandText& command;
  CLI::App app;
  bool help = false;
  std::vector<std::string> operands;
  std::vector<std::string> long_flags;
  std::vector<std::string> long_values;
  std::deque<std::pair<CLI::Option*, std::optional<std::string>*>> single;
  std::deque<std::string> storage;
};

tl::expected<std::vector<std::string>, std::string> Arguments::Impl::complete(
    const std::vector<std::string>& args) const {
  std::vector<std::string> result;
  bool options = true;
  for (const std::string& arg : args) {
    if (arg == "--") options = false;
    if (!options || !arg.starts_with("--") || arg == "--") {
      result.push_back(shielded(arg));
      continue;
    }
    const std::size_t equals = arg.find('=');
    const std::string name = arg.substr(0, equals);
    std::vector<std::string> matches;
    for (const auto* names : {&long_flags, &long_values}) {
      std::ranges::copy_if(*names, std::back_inserter(matches),
                           [&](const std::string& n) { return n.starts_with(name); });
    }
    if (std::ranges::count(matches, name) != 0) matches = {name};
    if (matches.size() > 1)
      return tl::unexpected(fmt::format("{}: option '{}' is ambiguous", command.name, name));
    if (matches.empty()) {
      result.push_back(arg);
      continue;
    }
    if (equals != std::string::npos && std::ranges::count(long_flags, matches.front()) != 0) {
      return tl::unexpected(
          fmt::format("{}: option '{}' doesn't allow an argument", command.name, matches.front()));
    }
    result.push_back(matches.front() + (equals == std::string::npos ? "" : arg.substr(equals)));
  }
  return result;
}

/// The words of getopt for what CLI11 found.
std::string Arguments::Impl::explain(const CLI::ParseError& error) const {
  for (const std::string& word : app.remaining()) {
    if (word.starts_with("--") && word.size() > 2) {
      return fmt::format("{}: unrecognized option '{}'", command.name, word.substr(0, word.find('=')));
    }
    if (word.size() > 1 && word.front() == '-')
      return fmt::format("{}: invalid option -- '{}'", command.name, word[1]);
  }
  const std::string text = error.what();  // "-s: 1 required TEXT missing"
  const std::string name = text.substr(0, text.find_first_of(",:"));
  if (name.starts_with("--")) return fmt::format("{}: option '{}' requires an argument", command.name, name);
  if (name.size() == 2 && name.front() == '-') {
    return fmt::format("{}: option requires an argument -- '{}'", command.name, name[1]);
  }
  return fmt::format("{}: {}", command.name, text);
}

Arguments::Arguments(const CommandText& command) : impl_(std::make_unique<Impl>(command)) {}
Arguments::~Arguments() = default;

void Arguments::flag(const std::string& names, bool& target) {
  impl_->app.add_flag(names, target);
  if (const std::string name = long_form(names); !name.empty()) impl_->long_flags.push_back(name);
}

void Arguments::value(const std::string& names, std::optional<std::string>& target) {
  std::string& text = impl_->storage.emplace_back();
  CLI::Option* option = impl_->app.add_option(names, text);
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  impl_->single.emplace_back(option, &target);
  if (const std::string name = long_form(names); !name.empty()) impl_->long_values.push_back(name);
}

void Arguments::values(const std::string& names, std::vector<std::string>& target) {
  impl_->app.add_option(names, target)->allow_extra_args(false);
  impl_->long_values.push_back(long_form(names));
}

Parsed<std::vector<std::string>> Arguments::parse(const std::vector<std::string>& args) {
  Impl& impl = *impl_;
  impl.app.add_option("operands", impl.operands);
  auto words = impl.complete(args);
  if (!words) return usage_error(impl.command, words.error());
  std::ranges::reverse(*words);
  try {
    impl.app.parse(*words);
  } catch (const CLI::ParseError& error) {
    return usage_error(impl.command, impl.explain(error));
  }
  if (impl.help) return tl::unexpected<Stop>(Stop{ExitCode::Ok, help_text(impl.command)});
  for (std::size_t i = 0; i < impl.single.size(); ++i) {
    auto& [option, target] = impl.single[i];
    if (option->count() != 0) *target = unshielded(impl.storage[i]);
  }
  for (std::string& operand : impl.operands)
    operand = unshielded(std::move(operand));
  return impl.operands;
}

}  // namespace ploop::cli
