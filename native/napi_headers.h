// The only file that includes node-addon-api. Its templates do not compile under -Wconversion; a
// system header, with everything that it includes, is exempt from our warnings.
#pragma once
#pragma GCC system_header

#include <napi.h>
