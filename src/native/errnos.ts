/** Errno numbers of Linux that node:os does not have. */

/** Invalid request code: what CRIU answers when options of a request cannot be used (setup_opts_from_req in cr-service.c). */
export const EBADRQC = 56;
