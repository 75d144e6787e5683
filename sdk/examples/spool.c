/*
 * spool: a collector that tells how many files wait in a folder, and how old the oldest is. In [plugin
 * monitor]: collectors = spool.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <howdah/howdah.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct conf {
    struct hd_str folder;
};

struct spool {
    char *folder; /* a copy: a job may be at it while the host reloads */
};

static const struct hd_option options[] = {{"folder", NULL, NULL, "The folder to look into", 0, 0,
                                            HD_OPT_STRING, HD_OPTF_REQUIRED, offsetof(struct conf, folder),
                                            0}};

/* On a job thread: it may block. */
static int32_t collect(void *arg, const struct hd_findings *f, struct hd_error *err)
{
    const char *path = ((struct spool *)arg)->folder;
    struct hd_label labels[] = {{"folder", path}};
    DIR *folder = opendir(path);
    int64_t count = 0, age = 0, now = time(NULL);
    struct dirent *e;
    struct stat st;

    if (!folder)
        return hd_error_set(err, HD_EIO, "%s: %s", path, strerror(errno));
    while ((e = readdir(folder)))
        if (!fstatat(dirfd(folder), e->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode)) {
            count++;
            age = now - st.st_mtime > age ? now - st.st_mtime : age;
        }
    closedir(folder);
    f->found(f, HD_METRIC_GAUGE, "spool_files", "Files that wait", labels, 1, count);
    return f->found(f, HD_METRIC_GAUGE, "spool_age_seconds", "Age of the oldest", labels, 1,
                    age * 1000000000);
}

static const struct hd_collector_v1 collector = {
    .size = sizeof(collector), .interval_ms = 10000, .collect = collect};

/* clang-format off */
static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)host;
    return (*self = calloc(1, sizeof(struct spool))) ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory");
}
static int32_t check(void *self, const struct hd_conf *conf, struct hd_error *err) { (void)self, (void)conf, (void)err; return HD_OK; }
static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    char *folder = hd_str_dup(((const struct conf *)conf->conf)->folder);

    free(((struct spool *)self)->folder);
    ((struct spool *)self)->folder = folder;
    return folder ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory");
}
static void reload(void *self, const struct hd_conf *conf) { (void)self, (void)conf; } /* `folder` needs a restart */
static int32_t stop(void *self) { (void)self; return HD_OK; }
static void destroy(void *self) { free(((struct spool *)self)->folder); free(self); }
static const void *capability(const char *name) { return strcmp(name, HD_CAP_COLLECTOR) ? NULL : &collector; }

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD, .id = "spool", .version = "1.0", .vendor = "Example", .licence = "Apache-2.0",
    .summary = "Looks at a spool folder", .options = HD_OPTIONS(struct conf, options), .create = create,
    .check = check, .start = start, .reload = reload, .stop = stop, .destroy = destroy, .capability = capability,
};
