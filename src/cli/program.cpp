#include "cli/program.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <new>

namespace ploop::cli {
namespace {

constexpr std::string_view kIntroduction =
    "Usage: ploop [-v|-vN] COMMAND [ARGUMENTS]\n"
    "       ploop COMMAND --help\n"
    "\n"
    "One image file as a disk: made with init, used through mount, in /dev/ploopN and\n"
    "/dev/ploopNp1. A disk is a directory with an image and DiskDescriptor.xml, which\n"
    "is the name that most commands take.\n"
    "\n"
    "Commands:\n";

constexpr std::string_view kEpilogue =
    "\n"
    "Options:\n"
    "  -v          one level more of messages; -vN sets the level (3 at first;\n"
    "              0 progress only, -1 errors only, -2 nothing, 4 with time stamps)\n"
    "  --version   print the version and exit\n"
    "  -h, --help  this text\n"
    "\n"
    "A first disk, as root:\n"
    "  cd /srv/disk\n"
    "  ploop init -s 10g root.hdd                    makes root.hdd and DiskDescriptor.xml\n"
    "  ploop mount -m /mnt DiskDescriptor.xml        the file system is at /mnt\n"
    "  ploop list -a                                 what is attached, and where\n"
    "  ploop umount DiskDescriptor.xml               flushed and detached\n";

std::string summary() {
  std::string text(kIntroduction);
  for (const Command& command : commands()) {
    text += fmt::format("  {:<20}{}\n", command.text->name, command.text->summary);
  }
  return text + std::string(kEpilogue);
}

/// "-v", "-vv", "-v4", "-v-1"; false when it is none of these.
bool apply_verbosity(std::string_view word, int& verbosity) {
  if (!word.starts_with("-v")) return false;
  word.remove_prefix(1);
  if (std::ranges::all_of(word, [](char c) { return c == 'v'; })) {
    verbosity += static_cast<int>(word.size());
    return true;
  }
  word.remove_prefix(1);
  int level = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), level);
  if (error != std::errc{} || end != word.data() + word.size()) return false;
  verbosity = level;
  return true;
}

/// An unknown command may be a program of its own, ploop-COMMAND. Returns only when there is none.
void try_external(const Words& words) {
  std::string program = "ploop-" + words.front();
  if (words.front().starts_with("-") || words.front().find('/') != std::string::npos) return;
  std::vector<char*> argv{program.data()};
  for (std::size_t i = 1; i < words.size(); ++i)
    argv.push_back(const_cast<char*>(words[i].c_str()));
  argv.push_back(nullptr);
  // As this process was started: signals are not blocked and a broken pipe ends it.
  sigset_t none;
  sigset_t mine;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, &mine);
  const auto pipe_action = ::signal(SIGPIPE, SIG_DFL);
  const auto size_action = ::signal(SIGXFSZ, SIG_DFL);
  ::execvp(program.c_str(), argv.data());
  ::signal(SIGPIPE, pipe_action);
  ::signal(SIGXFSZ, size_action);
  ::pthread_sigmask(SIG_SETMASK, &mine, nullptr);
}

ExitCode wrong_command_line(const Console& console, const std::string& message) {
  if (!message.empty()) console.complaint(message + "\n");
  console.complaint(summary());
  return ExitCode::Param;
}

}  // namespace

GlobalOptions parse_global(const Words& words) {
  GlobalOptions options;
  for (const std::string& word : words) {
    if (!word.starts_with("-")) break;
    if (word == "-h" || word == "--help") {
      options.help = true;
    } else if (word == "--version") {
      options.version = true;
    } else if (!apply_verbosity(word, options.verbosity)) {
      options.bad = word;
      return options;
    }
    ++options.command;
  }
  return options;
}

bool is_balloon_program(std::string_view program) {
  return program.substr(program.rfind('/') == std::string_view::npos ? 0 : program.rfind('/') + 1) ==
         "ploop-balloon";
}

ExitCode run_program_line(Console& console, const Words& words) {
  const GlobalOptions options = parse_global(words);
  console.set_verbosity(options.verbosity);
  if (!options.bad.empty()) return wrong_command_line(console, "Bad option " + options.bad);
  if (options.version) return answer(console, fmt::format("ploop version {}\n", PLOOP_VERSION));
  if (options.help) return answer(console, summary());
  if (options.command >= words.size()) return wrong_command_line(console, "");
  const Words rest(words.begin() + static_cast<std::ptrdiff_t>(options.command), words.end());
  const Words args(rest.begin() + 1, rest.end());
  if (const Command* command = find_command(rest.front())) {
    try {
      return command->run(console, args);
    } catch (const std::bad_alloc&) {
      console.message(LogLevel::Error, "Out of memory");
      return ExitCode::Malloc;
    }
  }
  if (rest.front() == "help" && args.size() <= 1) {
    const Command* topic = args.empty() ? nullptr : find_command(args.front());
    return answer(console, topic != nullptr ? help_text(*topic->text) : summary());
  }
  try_external(rest);
  return wrong_command_line(console, "ploop: there is no command '" + rest.front() + "'");
}

}  // namespace ploop::cli
