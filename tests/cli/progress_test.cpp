// The progress bar: its text at every width, and what really arrives on a terminal, in a pipe and with -v.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "base/fd.hpp"
#include "base/units.hpp"
#include "cli/progress_meter.hpp"

namespace ploop::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

TEST(RateMeter, KnowsNothingBeforeHalfASecondOfWork) {
  RateMeter meter;
  meter.sample(10.0, 0);
  meter.sample(10.4, 100);
  EXPECT_FALSE(meter.rate());
  meter.sample(10.5, 100);
  EXPECT_DOUBLE_EQ(meter.rate().value(), 200);
}

TEST(RateMeter, DoesNotCountWhatAnInterruptedRunHadDone) {
  RateMeter meter;
  meter.sample(0, 1000000);
  meter.sample(1, 1000010);
  EXPECT_DOUBLE_EQ(meter.rate().value(), 10);
}

TEST(RateMeter, FollowsAChangeOfSpeedAndStartsAnewWithANewPass) {
  RateMeter meter;
  std::uint64_t done = 0;
  for (int second = 0; second < 20; ++second)
    meter.sample(second, done += 100);
  EXPECT_NEAR(meter.rate().value(), 100, 1);
  for (int second = 20; second < 60; ++second)
    meter.sample(second, done += 10);
  EXPECT_NEAR(meter.rate().value(), 10, 1);
  meter.sample(60, 5);
  EXPECT_FALSE(meter.rate());
}

TEST(ProgressText, SaysPercentSpeedAndRemainingTime) {
  const ProgressState state{"Merging", 256 * kMiB, 1024 * kMiB, 64.0 * kMiB};
  EXPECT_EQ(plain_line(state), "Merging: 25% (256 of 1024 MiB, 64.0 MiB/s, 0:12 left)");
  EXPECT_EQ(bar_line(state, 79),
            "Merging [##########..............................]  25%  64.0 MiB/s  0:12 left");
}

TEST(ProgressText, LeavesOutWhatDoesNotFitAndIsNeverTooLong) {
  const ProgressState state{"Merging", 1, 2, 64.0 * kMiB};
  for (std::size_t width = 0; width < 200; ++width)
    EXPECT_LE(bar_line(state, width).size(), width);
  EXPECT_EQ(bar_line({"Merging", 256 * kMiB, 1024 * kMiB, 64.0 * kMiB}, 26), "Merging  25%  64.0 MiB/s");
  EXPECT_EQ(bar_line({"Merging", 256 * kMiB, 1024 * kMiB, 64.0 * kMiB}, 14), "Merging  25%");
}

TEST(ProgressText, EndsAtAHundredAndStandsUnknownTotals) {
  EXPECT_EQ(plain_line({"Copying", 3 * kMiB, 2 * kMiB, {}}), "Copying: 100% (3 of 2 MiB)");
  EXPECT_EQ(plain_line({"Copying", 3 * kMiB, 0, 1.0 * kMiB}), "Copying: 3 MiB, 1.0 MiB/s");
  EXPECT_EQ(bar_line({"Copying", 3 * kMiB, 0, {}}, 79), "Copying 3 MiB");
  EXPECT_EQ(plain_line({"Copying", 0, 7200 * kMiB, 1.0 * kMiB}),
            "Copying: 0% (0 of 7200 MiB, 1.0 MiB/s, 2:00:00 left)");
}

/// stderr (and stdout) somewhere else for a while.
class Redirected {
 public:
  explicit Redirected(int to) : out_(::dup(1)), err_(::dup(2)) {
    ::dup2(to, 1);
    ::dup2(to, 2);
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;
  ~Redirected() {
    ::dup2(out_.get(), 1);
    ::dup2(err_.get(), 2);
  }

 private:
  Fd out_, err_;
};

/// From a descriptor that does not block.
std::string read_all_there_is(int fd) {
  std::string text;
  char piece[4096];
  for (ssize_t got = 0; (got = ::read(fd, piece, sizeof piece)) > 0;)
    text.append(piece, static_cast<std::size_t>(got));
  return text;
}

/// Work of 0.8 s with one message in the middle.
void work(Console& console) {
  ProgressMeter meter(console, "Merging");
  const ProgressCallback progress = meter.callback();
  for (std::uint64_t i = 0; i <= 8; ++i) {
    report_progress(progress, i * kMiB, 8 * kMiB);
    if (i == 7) console.message(LogLevel::Progress, "half way");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

TEST(ProgressMeter, DrawsOnATerminalAndLeavesNothing) {
  const Fd terminal(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  ASSERT_GE(terminal.get(), 0);
  ASSERT_EQ(::grantpt(terminal.get()), 0);
  ASSERT_EQ(::unlockpt(terminal.get()), 0);
  const Fd screen(::open(::ptsname(terminal.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  winsize size{};
  size.ws_col = 60;
  ::ioctl(screen.get(), TIOCSWINSZ, &size);
  ::setenv("TERM", "xterm", 1);
  Console console;
  {
    const Redirected redirected(screen.get());
    work(console);
  }
  const std::string shown = read_all_there_is(terminal.get());
  EXPECT_THAT(shown, HasSubstr("\r\x1b[KMerging ["));
  EXPECT_THAT(shown, HasSubstr(" MiB/s"));
  EXPECT_THAT(shown, HasSubstr("\r\x1b[Khalf way\r\nMerging ["));  // the message above, the bar drawn again
  EXPECT_TRUE(shown.ends_with("\r\x1b[K")) << shown;
}

TEST(ProgressMeter, SaysNothingInAPipe) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd out(ends[0]);
  const Fd in(ends[1]);
  Console console;
  {
    const Redirected redirected(in.get());
    ProgressMeter meter(console, "Merging");
    EXPECT_FALSE(meter.callback());
    work(console);
  }
  EXPECT_EQ(read_all_there_is(out.get()), "half way\n");
}

TEST(ProgressMeter, SaysLinesWhenVerbose) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd out(ends[0]);
  const Fd in(ends[1]);
  Console console;
  console.set_verbosity(kStampedVerbosity);
  {
    const Redirected redirected(in.get());
    work(console);
  }
  const std::string said = read_all_there_is(out.get());
  EXPECT_THAT(said, HasSubstr("] Merging: "));
  EXPECT_THAT(said, HasSubstr("of 8 MiB"));
  EXPECT_THAT(said, Not(HasSubstr("\r")));
}

TEST(ProgressMeter, ShortWorkDoesNotShow) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd out(ends[0]);
  const Fd in(ends[1]);
  Console console;
  console.set_verbosity(kStampedVerbosity);
  {
    const Redirected redirected(in.get());
    ProgressMeter meter(console, "Merging");
    const ProgressCallback progress = meter.callback();
    for (std::uint64_t i = 0; i < 1000; ++i)
      report_progress(progress, i, 1000);
  }
  EXPECT_THAT(read_all_there_is(out.get()), IsEmpty());
}

}  // namespace
}  // namespace ploop::cli
