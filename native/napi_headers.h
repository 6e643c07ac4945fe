// The one place that includes node-addon-api: its templates do not compile under -Wconversion, and
// a system header is exempt from our warnings together with everything that it includes.
#pragma once
#pragma GCC system_header

#include <napi.h>
