#!/bin/sh
[ "$1" != deconfig ] || { ip link set "$interface" up; exit; }
case "$1" in bound | renew) ;; *) exit ;; esac
ip address replace "$ip/$mask" dev "$interface"
[ -z "$router" ] || ip route replace default via "$router" dev "$interface"
[ -z "$dns" ] || echo "${dns%% *}" >/run/dns
