// ploop stat
#include <fmt/format.h>

#include <iostream>
#include <sstream>

#include "base/text.hpp"
#include "cli/commands.hpp"
#include "ops/counters.hpp"

namespace ploop::cli {

const CommandText kStatText = {
    "stat", "show the counters of a device", "stat -d DEVICE [-c|-l]",
    "One line per counter: requests and bytes since the device was attached or the counters\n"
    "were cleared, clusters taken, barriers and table pages written, errors.\n"
    "\n"
    "Options:\n"
    "  -d DEVICE      the device, as /dev/ploopN\n"
    "  -c             set all counters to 0\n"
    "  -l             set counters from lines \"NAME VALUE\" on standard input, as this\n"
    "                 command prints them\n"
    "  -h, --help     this text\n"
    "\n"
    "Example:\n"
    "  ploop stat -d /dev/ploop0 | grep bytes\n"};

namespace {

Parsed<std::vector<ops::CounterValue>> parse_counters(std::istream& input) {
  std::vector<ops::CounterValue> values;
  for (std::string line; std::getline(input, line);) {
    std::istringstream words(line);
    std::string name, number, more;
    if (!(words >> name)) continue;
    words >> number >> more;
    const auto value = parse_c_integer(number);
    if (!value || !more.empty()) return value_error("Not a line \"NAME VALUE\": " + line);
    values.push_back({name, *value});
  }
  return values;
}

ExitCode show(Console& console, const std::string& device) {
  console.keep_stdout_for_data();
  const auto counters = ops::device_counters(device);
  if (!counters) return report(console, counters.error());
  std::string text;
  for (const ops::CounterValue& counter : *counters)
    text += fmt::format("{:<20}\t{}\n", counter.name, counter.value);
  return answer(console, text);
}

ExitCode load(Console& console, const std::string& device) {
  const auto values = parse_counters(std::cin);
  if (!values) return stop(console, values.error());
  const auto unknown = ops::load_counters(device, *values);
  if (!unknown) return report(console, unknown.error());
  for (const std::string& name : *unknown)
    console.message(LogLevel::Error, "Variable \"" + name + "\" is missing");
  return ExitCode::Ok;
}

}  // namespace

Parsed<StatArguments> parse_stat(const Words& args) {
  StatArguments result;
  std::optional<std::string> device;
  Arguments arguments(kStatText);
  arguments.value("-d", device);
  arguments.flag("-c", result.clear);
  arguments.flag("-l", result.load);
  const Words operands = PARSED(arguments.parse(args));
  result.device = device.value_or("");
  if (result.device.empty()) return usage_error(kStatText, "The device is missing: give it with -d");
  if (!operands.empty()) return usage_error(kStatText, "stat takes no operands");
  if (result.clear && result.load) return usage_error(kStatText, "Options -c and -l can't be used together");
  return result;
}

ExitCode run_stat(Console& console, const Words& args) {
  const auto parsed = parse_stat(args);
  if (!parsed) return stop(console, parsed.error());
  if (parsed->load) return load(console, parsed->device);
  if (!parsed->clear) return show(console, parsed->device);
  if (const Status done = ops::clear_counters(parsed->device); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
