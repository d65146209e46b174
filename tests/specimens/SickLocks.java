// Locks of Java that are sick in a known way, and healthy programs that look like them: `java SickLocks MODE`.
//
// Prints `ready {"pid":…,"tids":{NAME:TID,…}}` when its state is reached, stays so, and ends by itself after ten minutes.
import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.*;
import java.util.concurrent.*;
import java.util.concurrent.locks.*;

class SickLocks {
    static final ReentrantLock FIRST = new ReentrantLock(), SECOND = new ReentrantLock(true);
    static final Object LEFT = new Object(), RIGHT = new Object();
    static final CountDownLatch NEVER = new CountDownLatch(1);

    public static void main(String[] mode) throws Exception {
        Thread end = new Thread(() -> {
            nap(600_000);
            Runtime.getRuntime().halt(0);
        }, "end");
        end.setDaemon(true);
        end.start();
        switch (mode[0]) {
            case "locks" -> locks();
            case "monitors" -> monitors();
            case "mixed" -> mixed();
            case "kept" -> kept();
            case "kept-monitor" -> keptMonitor();
            case "readers" -> readers();
            case "gone" -> gone();
            case "nested" -> nested();
            case "pools" -> pools();
            case "http" -> http();
            case "future" -> future();
            case "join" -> join();
            case "passed-on" -> passedOn();
            default -> throw new IllegalArgumentException(mode[0]);
        }
    }

    // Two threads take two locks in different orders.
    static void locks() throws Exception {
        run("one", () -> { FIRST.lock(); nap(300); SECOND.lock(); });
        run("two", () -> { SECOND.lock(); nap(300); FIRST.lock(); });
        rest();
    }

    static void monitors() throws Exception {
        run("one", () -> { synchronized (LEFT) { nap(300); synchronized (RIGHT) { nap(1); } } });
        run("two", () -> { synchronized (RIGHT) { nap(300); synchronized (LEFT) { nap(1); } } });
        rest();
    }

    static void mixed() throws Exception {
        run("one", () -> { FIRST.lock(); nap(300); synchronized (LEFT) { nap(1); } });
        run("two", () -> { synchronized (LEFT) { nap(300); FIRST.lock(); } });
        rest();
    }

    // One keeps a lock and sleeps, another one wants it.
    static void kept() throws Exception {
        run("keeper", () -> { FIRST.lock(); nap(3_600_000); });
        nap(200);
        run("waiter", FIRST::lock);
        rest();
    }

    static void keptMonitor() throws Exception {
        run("keeper", () -> { synchronized (LEFT) { nap(3_600_000); } });
        nap(200);
        run("waiter", () -> { synchronized (LEFT) { nap(1); } });
        rest();
    }

    // A read lock that nobody gives back: it notes no owner.
    static void readers() throws Exception {
        ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
        run("keeper", () -> { lock.readLock().lock(); nap(3_600_000); });
        nap(200);
        run("waiter", () -> lock.writeLock().lock());
        rest();
    }

    // The holder has ended.
    static void gone() throws Exception {
        Thread loader = run("loader", FIRST::lock);
        loader.join();
        run("waiter", FIRST::lock);
        rest();
    }

    // Who should notify stands at the outer lock.
    static void nested() throws Exception {
        run("sleeper", () -> { FIRST.lock(); synchronized (LEFT) { await(LEFT); } });
        nap(200);
        run("waiter", () -> { FIRST.lock(); synchronized (LEFT) { LEFT.notifyAll(); } });
        rest();
    }

    // Pools without work.
    static void pools() throws Exception {
        ExecutorService fixed = Executors.newFixedThreadPool(4);
        for (int job = 0; job < 4; job++) fixed.submit(() -> nap(1));
        Executors.newCachedThreadPool().submit(() -> nap(1)).get();
        Executors.newSingleThreadExecutor().submit(() -> nap(1)).get();
        ScheduledExecutorService scheduled = Executors.newScheduledThreadPool(2);
        scheduled.scheduleAtFixedRate(() -> nap(1), 0, 1, TimeUnit.SECONDS);
        scheduled.schedule(() -> nap(1), 1, TimeUnit.HOURS);
        new ForkJoinPool(3).submit(() -> java.util.stream.IntStream.range(0, 100).parallel().sum()).get();
        new java.util.Timer("timer").schedule(new java.util.TimerTask() { public void run() { nap(1); } }, 3_600_000);
        LinkedTransferQueue<String> queue = new LinkedTransferQueue<>();
        run("taker", () -> { try { queue.take(); } catch (InterruptedException e) { nap(1); } });
        Semaphore jobs = new Semaphore(0);
        run("permits", jobs::acquireUninterruptibly);
        rest();
    }

    // A server without requests. Its main thread has ended.
    static void http() throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        ThreadPoolExecutor pool = (ThreadPoolExecutor) Executors.newFixedThreadPool(3);
        pool.prestartAllCoreThreads();
        server.setExecutor(pool);
        server.start();
        nap(300);
        ready();
    }

    // The main thread waits for the end of the program in other ways.
    static void future() throws Exception {
        CompletableFuture<Void> end = new CompletableFuture<>();
        ready();
        end.join();
    }

    static void join() throws Exception {
        LinkedBlockingQueue<String> queue = new LinkedBlockingQueue<>();
        Thread worker = run("worker", () -> { try { queue.take(); } catch (InterruptedException e) { nap(1); } });
        nap(300);
        ready();
        worker.join();
    }

    // A lock that several threads want all the time, and that is passed on.
    static void passedOn() throws Exception {
        for (String name : new String[] {"one", "two", "three"}) {
            run(name, () -> { while (true) { FIRST.lock(); nap(20); FIRST.unlock(); nap(60); } });
            run(name + "-m", () -> { while (true) { synchronized (LEFT) { nap(20); } nap(60); } });
        }
        rest();
    }

    static Thread run(String name, Runnable job) {
        Thread thread = new Thread(job, name);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    static void nap(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void await(Object monitor) {
        try {
            monitor.wait();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void rest() throws Exception {
        nap(600);
        ready();
        NEVER.await();
    }

    static void ready() throws Exception {
        long pid = ProcessHandle.current().pid();
        StringBuilder tids = new StringBuilder("\"main\":" + pid);
        try (DirectoryStream<Path> tasks = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
            for (Path task : tasks) {
                String name = Files.readString(task.resolve("comm")).trim();
                if (name.matches("[a-z-]{1,15}") && !name.equals("main"))
                    tids.append(",\"" + name + "\":" + task.getFileName());
            }
        }
        System.out.println("ready {\"pid\":" + pid + ",\"tids\":{" + tids + "}}");
    }
}
