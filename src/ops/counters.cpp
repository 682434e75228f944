#include "ops/counters.hpp"

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "base/fd.hpp"
#include "base/paths.hpp"
#include "control/client.hpp"
#include "control/registry.hpp"

namespace ploop::ops {
namespace {

constexpr std::size_t kMaxShifts = 64u << 10;

std::string shift_path(int number) {
  return device_run_directory(number) + "/shifts";
}

std::vector<CounterValue> by_name(const control::DeviceStats& s) {
  return {{"reads", s.reads},
          {"read_bytes", s.read_bytes},
          {"writes", s.writes},
          {"written_bytes", s.written_bytes},
          {"flushes", s.flushes},
          {"discards", s.discards},
          {"discarded_bytes", s.discarded_bytes},
          {"allocations", s.allocations},
          {"barriers", s.barriers},
          {"table_pages", s.table_pages},
          {"errors", s.errors}};
}

Result<int> running_number(const std::string& device) {
  const int number = device_number(device);
  if (number >= 0 && TRY(control::find_device(number))) return number;
  return fail(
      errno_error(ExitCode::Sysfs, ENOENT, "Can't read the counters of " + device + ": no such device runs"));
}

Result<std::vector<CounterValue>> raw_counters(int number) {
  control::Client client = TRY(control::Client::connect(number));
  return by_name(TRY(client.stats()));
}

CounterValue* find(std::vector<CounterValue>& values, const std::string& name) {
  const auto found = std::ranges::find_if(values, [&](const CounterValue& v) { return v.name == name; });
  return found == values.end() ? nullptr : &*found;
}

/// What is to be taken off each counter (modulo 2^64); nothing when nobody cleared or loaded any.
Result<std::vector<CounterValue>> shifts(int number) {
  std::vector<CounterValue> result;
  const auto text = read_file(shift_path(number), kMaxShifts);
  if (!text)
    return text.error().sys_errno == ENOENT ? Result<std::vector<CounterValue>>(result) : fail(text.error());
  std::istringstream lines(*text);
  for (CounterValue value; lines >> value.name >> value.value;)
    result.push_back(value);
  return result;
}

Status store_shifts(int number, const std::vector<CounterValue>& values) {
  std::string text;
  for (const CounterValue& value : values)
    text += value.name + " " + std::to_string(value.value) + "\n";
  return write_file_atomic(shift_path(number), text, 0600);
}

}  // namespace

Result<std::vector<CounterValue>> device_counters(const std::string& device) {
  const int number = TRY(running_number(device));
  std::vector<CounterValue> values = TRY(raw_counters(number));
  for (const CounterValue& shift : TRY(shifts(number))) {
    if (CounterValue* value = find(values, shift.name)) value->value -= shift.value;
  }
  return values;
}

Status clear_counters(const std::string& device) {
  const int number = TRY(running_number(device));
  return store_shifts(number, TRY(raw_counters(number)));
}

Result<std::vector<std::string>> load_counters(const std::string& device,
                                               const std::vector<CounterValue>& values) {
  const int number = TRY(running_number(device));
  std::vector<CounterValue> now = TRY(raw_counters(number));
  std::vector<CounterValue> all = TRY(shifts(number));
  std::vector<std::string> unknown;
  for (const CounterValue& wanted : values) {
    const CounterValue* counter = find(now, wanted.name);
    if (counter == nullptr) {
      unknown.push_back(wanted.name);
      continue;
    }
    const std::uint64_t shift = counter->value - wanted.value;
    if (CounterValue* existing = find(all, wanted.name)) {
      existing->value = shift;
    } else {
      all.push_back({wanted.name, shift});
    }
  }
  TRY(store_shifts(number, all));
  return unknown;
}

}  // namespace ploop::ops
