#include "support/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace ploop::test {
namespace {

std::string read_and_close(std::FILE* file) {
  std::string text;
  std::rewind(file);
  char buffer[4096];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, file)) > 0;)
    text.append(buffer, n);
  std::fclose(file);
  return text;
}

[[noreturn]] void become(const std::vector<std::string>& argv, const ProcessOptions& options, int out,
                         int err) {
  std::vector<char*> raw;
  for (const std::string& word : argv)
    raw.push_back(const_cast<char*>(word.c_str()));
  raw.push_back(nullptr);
  for (const auto& [name, value] : options.environment)
    ::setenv(name.c_str(), value.c_str(), 1);
  const int input = ::open(options.stdin_file.empty() ? "/dev/null" : options.stdin_file.c_str(), O_RDONLY);
  ::dup2(input, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  for (const int fd : options.closed)
    ::close(fd);
  if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(126);
  ::execv(raw[0], raw.data());
  ::_exit(127);
}

}  // namespace

ProcessResult run(const std::vector<std::string>& argv, const ProcessOptions& options) {
  // Files, not pipes: nothing has to be read while the program runs.
  std::FILE* out = std::tmpfile();
  std::FILE* err = std::tmpfile();
  if (out == nullptr || err == nullptr) throw std::runtime_error("tmpfile");
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork");
  if (pid == 0) become(argv, options, ::fileno(out), ::fileno(err));
  if (options.signal != 0) {
    std::this_thread::sleep_for(options.signal_after);
    ::kill(pid, options.signal);  // not reaped yet, so the number is its own
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  ProcessResult result;
  result.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  result.out = read_and_close(out);
  result.err = read_and_close(err);
  return result;
}

}  // namespace ploop::test
