# The second half of the foreign guest's init (busybox): network, names, the application, power off.
mkdir -p /media /etc
mount -t iso9660 -o ro /dev/sr0 /media
sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.rp_filter=1
ip link set lo up

nic() { # the name of the NIC with this MAC address
    for path in /sys/class/net/eth*; do
        [ "$(cat "$path/address")" = "$1" ] && echo "${path##*/}"
    done
}

address() { # of a platform service, which may be a name
    case "$1" in
    *[!0-9.]*) nslookup "$1" "$dns" 2>/dev/null | sed -n 's/^Address[^:]*: *\([0-9.]*\)$/\1/p' | tail -n 1 ;;
    *) echo "$1" ;;
    esac
}

service=$(nic "$(foreign get racs.nic.service.mac)")
users=$(nic "$(foreign get racs.nic.user-plane.mac)")
udhcpc -q -n -t 20 -T 1 -i "$service" -s /bin/lease && udhcpc -i "$service" -s /bin/lease -b >/dev/null
udhcpc -i "$users" -s /bin/lease -t 20 -T 1 -b >/dev/null
dns=$(cat /run/dns)
until heartbeat=$(address "$(foreign get racs.heartbeat.host)") && [ -n "$heartbeat" ]; do sleep 1; done
until ntp=$(address "$(foreign get racs.ntp.host)") && [ -n "$ntp" ]; do sleep 1; done
foreign run "$heartbeat" "$ntp"
poweroff -f
