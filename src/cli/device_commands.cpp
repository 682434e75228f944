// ploop start, stop, clear, delete, getdev: the steps of the old kernel module.
#include <fmt/format.h>

#include "base/text.hpp"
#include "cli/commands.hpp"
#include "ops/assembled.hpp"

namespace ploop::cli {

const CommandText kStartText = {
    "start", "attach a stopped device again", "start -d DEVICE",
    "A device that 'ploop stop' ended is attached again, under the same name and with the\n"
    "same images. Partitions are read anew; nothing is mounted.\n"
    "\n"
    "Options:\n"
    "  -d DEVICE      the device, as /dev/ploopN\n"
    "  -h, --help     this text\n"};

const CommandText kStopText = {
    "stop", "end a device, to be started again", "stop -d DEVICE",
    "Writes everything to the image and ends the device, once, without waiting for those\n"
    "who use it. What it was made of is remembered for 'ploop start', until 'ploop clear'\n"
    "or the next boot. 'ploop umount' is what you want unless a script is older than that.\n"
    "\n"
    "Options:\n"
    "  -d DEVICE      the device, as /dev/ploopN\n"
    "  -h, --help     this text\n"};

const CommandText kClearText = {
    "clear", "forget a stopped device", "clear -d DEVICE",
    "What 'ploop stop' remembered is dropped, and so is what a dead device left behind.\n"
    "A running device is refused.\n"
    "\n"
    "Options:\n"
    "  -d DEVICE      the device, as /dev/ploopN\n"
    "  -h, --help     this text\n"};

const CommandText kDeleteText = {
    "delete", "take the top image off a stopped device",
    "delete -d DEVICE -l LEVEL\n"
    "rm -d DEVICE -l LEVEL",
    "The device must be stopped and LEVEL must be its top: levels count from 0, the base.\n"
    "The file stays. What 'ploop start' attaches then is read-only, as lower images are.\n"
    "\n"
    "Options:\n"
    "  -d DEVICE      the device, as /dev/ploopN\n"
    "  -l LEVEL       the level, from 0 to 127\n"
    "  -h, --help     this text\n"};

const CommandText kGetdevText = {
    "getdev", "print the next unused minor number", "getdev",
    "The number is 16 times that of the device which 'ploop mount' would use next. Nothing\n"
    "is reserved.\n"
    "\n"
    "Options:\n"
    "  -h, --help     this text\n"};

namespace {

constexpr std::uint64_t kMaxLevel = 127;
constexpr int kMinorsPerDevice = 16;

/// -d, which all of them need, and no operands.
Parsed<std::string> parse_device(Arguments& arguments, const CommandText& text, const Words& args) {
  std::optional<std::string> device;
  arguments.value("-d", device);
  const Words operands = PARSED(arguments.parse(args));
  if (!device || device->empty()) return usage_error(text, "The device is missing: give it with -d");
  if (!operands.empty()) return usage_error(text, fmt::format("{} takes no operands", text.name));
  return *device;
}

ExitCode run_with_device(Console& console, const CommandText& text, const Words& args,
                         Status (*work)(const std::string&)) {
  Arguments arguments(text);
  const auto device = parse_device(arguments, text, args);
  if (!device) return stop(console, device.error());
  if (const Status done = work(*device); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace

Parsed<DeleteArguments> parse_delete(const Words& args) {
  DeleteArguments result;
  std::optional<std::string> level;
  Arguments arguments(kDeleteText);
  arguments.value("-l", level);
  result.device = PARSED(parse_device(arguments, kDeleteText, args));
  if (!level) return usage_error(kDeleteText, "The level is missing: give it with -l");
  const auto number = parse_c_integer(*level);
  if (!number || *number > kMaxLevel)
    return usage_error(kDeleteText, fmt::format("Invalid level: {}", *level));
  result.level = static_cast<std::size_t>(*number);
  return result;
}

ExitCode run_start(Console& console, const Words& args) {
  return run_with_device(console, kStartText, args, ops::start_device);
}
ExitCode run_stop(Console& console, const Words& args) {
  return run_with_device(console, kStopText, args, ops::stop_device);
}
ExitCode run_clear(Console& console, const Words& args) {
  return run_with_device(console, kClearText, args, ops::clear_device);
}

ExitCode run_delete(Console& console, const Words& args) {
  const auto parsed = parse_delete(args);
  if (!parsed) return stop(console, parsed.error());
  if (const Status done = ops::delete_level(parsed->device, parsed->level); !done)
    return report(console, done.error());
  return ExitCode::Ok;
}

ExitCode run_getdev(Console& console, const Words& args) {
  Arguments arguments(kGetdevText);
  const auto operands = arguments.parse(args);
  if (!operands) return stop(console, operands.error());
  if (!operands->empty()) return stop(console, usage_error(kGetdevText, "getdev takes no operands").value());
  const auto number = ops::next_device_number();
  if (!number) return report(console, number.error());
  return answer(console, fmt::format("Next unused minor: {}\n", *number * kMinorsPerDevice));
}

}  // namespace ploop::cli
