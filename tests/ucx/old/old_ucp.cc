// As libucp before 1.12 introduces itself.
extern "C" __attribute__((visibility("default"))) void ucp_get_version(unsigned* major,
                                                                       unsigned* minor,
                                                                       unsigned* release) {
  *major = 1;
  *minor = 11;
  *release = 2;
}
