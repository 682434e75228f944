// One finding of `check` for programs.
#pragma once

#include "cli/json.hpp"
#include "ops/check.hpp"

namespace ploop::cli {

/// Kind, severity, what was done about it, the message, and the numbers that belong to this kind.
Json finding_json(const image::CheckReport& report, const image::Finding& finding);

}  // namespace ploop::cli
