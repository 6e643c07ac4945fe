# The number of samples for each work in a short run. Sourced by run.sh.
# shellcheck shell=bash disable=SC2034
warm_up=300 small_rounds=4 small_block=10
check_count=5
count_1=8 count_100=4 count_500=2
first_count=4
start_count=4
crowd_rounds=2 crowd_ms=500
settle=1
alice_count=8 at_once_rounds=2
tree_sizes='1 100 1000' tree_rounds=5
growth_first=1000 growth_rest=9000
