// ploop copy
#include <charconv>

#include "cli/commands.hpp"
#include "cli/progress_meter.hpp"

namespace ploop::cli {

const CommandText kCopyText = {
    "copy", "copy the current image of a disk in use",
    "copy -s DEVICE [-F COMMAND] [-d FILE | -o OFD] [-f FFD]\n"
    "copy -d FILE [-i IFD] [-f FFD]",
    "Sends the image that a mounted disk writes to (the last of its list), while the\n"
    "disk is in use, or receives it. The file system stands still for a moment at the\n"
    "end, so that the copy is one of a clean file system. Snapshots below and the\n"
    "descriptor are to be copied by other means. FILE appears when it is complete.\n"
    "\n"
    "Options:\n"
    "  -s DEVICE      send: the device, as /dev/ploopN\n"
    "  -d FILE        receive into this new file; with -s: copy to it without a receiver\n"
    "  -o OFD         with -s: send to this descriptor (default: 1, the standard output)\n"
    "  -i IFD         receive from this descriptor (default: 0, the standard input)\n"
    "  -f FFD         descriptor for the receiver's answers: it writes, the sender reads\n"
    "  -F COMMAND     with -s: run by the shell before the file system stands still\n"
    "  -h, --help     this text\n"
    "\n"
    "Descriptors are pipes or sockets; OFD may be a file as well.\n"
    "\n"
    "Examples:\n"
    "  ploop copy -s /dev/ploop0 -d /backup/root.hdd\n"
    "  ploop copy -s /dev/ploop0 | ssh HOST ploop copy -d /srv/disk/root.hdd\n"};

namespace {

Parsed<int> parse_descriptor(const char* option, const std::optional<std::string>& text, int otherwise) {
  if (!text) return otherwise;
  int fd = -1;
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, fd);
  if (error != std::errc{} || stop != end || fd < 0) {
    return usage_error(kCopyText, std::string("Invalid argument for option ") + option + ": " + *text);
  }
  return fd;
}

/// Nothing but the data may go to a descriptor that is part of the copy.
void keep_clear(Console& console, int fd) {
  if (fd == 1) console.keep_stdout_for_data();
  if (fd == 2) console.set_verbosity(-2);
}

}  // namespace

Parsed<CopyArguments> parse_copy(const Words& args) {
  std::optional<std::string> source, file, input, output, feedback, command;
  Arguments arguments(kCopyText);
  arguments.value("-s", source);
  arguments.value("-d", file);
  arguments.value("-i", input);
  arguments.value("-o", output);
  arguments.value("-f", feedback);
  arguments.value("-F", command);
  const Words operands = PARSED(arguments.parse(args));
  if (!operands.empty()) return usage_error(kCopyText, "There is nothing to be named besides the options");
  if (!source && !file) return usage_error(kCopyText, "Either -s or -d is required");
  const int answers = PARSED(parse_descriptor("-f", feedback, -1));
  CopyArguments result;
  if (!source) {
    if (output || command) return usage_error(kCopyText, "-o and -F need -s");
    result.receive = {*file, PARSED(parse_descriptor("-i", input, 0)), answers};
    return result;
  }
  if (input) return usage_error(kCopyText, "-i is for receiving only");
  if (file && output) return usage_error(kCopyText, "-d and -o exclude each other");
  ops::CopySendOptions& send = result.send.emplace();
  send.device = *source;
  send.sink = {file.value_or(""), PARSED(parse_descriptor("-o", output, 1)), answers};
  send.stop_command = command.value_or("");
  return result;
}

ExitCode run_copy(Console& console, const Words& args) {
  auto parsed = parse_copy(args);
  if (!parsed) return stop(console, parsed.error());
  if (parsed->send) {
    if (parsed->send->sink.file.empty()) keep_clear(console, parsed->send->sink.output);
    keep_clear(console, parsed->send->sink.feedback);
    ProgressMeter meter(console, "Copying");
    parsed->send->progress = meter.callback();
    if (const Status sent = ops::copy_send(*parsed->send); !sent) return report(console, sent.error());
    return ExitCode::Ok;
  }
  keep_clear(console, parsed->receive.feedback);
  if (const Status received = ops::copy_receive(parsed->receive); !received)
    return report(console, received.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
